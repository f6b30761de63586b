package e2e

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/local"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/winimage"
	"imageport/wallet"
	"imageport/worker"
)

// hooks stop a job at chosen places, on a worker inside of the test.
type hooks struct {
	platforms.Driver
	interceptor.WorkerInterceptorBase

	check, create, destroy func(context.Context) // in the platform's verbs
	schedule               func(activity string) // before an activity is scheduled
}

func (h *hooks) Check(ctx context.Context, ce platforms.Spec) error {
	call(ctx, h.check)
	return h.Driver.Check(ctx, ce)
}

// Create stops after the CE was made, but before anybody hears of it.
func (h *hooks) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	made, err := h.Driver.Create(context.WithoutCancel(ctx), ce)
	if call(ctx, h.create); ctx.Err() != nil {
		return platforms.Instance{}, ctx.Err()
	}
	return made, err
}

func (h *hooks) Destroy(ctx context.Context, name string) error {
	call(ctx, h.destroy)
	return h.Driver.Destroy(ctx, name)
}

func call(ctx context.Context, hook func(context.Context)) {
	if hook != nil {
		hook(ctx)
	}
}

func (h *hooks) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &inbound{h: h}
	in.Next = next
	return in
}

type inbound struct {
	interceptor.WorkflowInboundInterceptorBase
	h *hooks
}

func (in *inbound) Init(out interceptor.WorkflowOutboundInterceptor) error {
	o := &outbound{h: in.h}
	o.Next = out
	return in.Next.Init(o)
}

type outbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	h *hooks
}

func (o *outbound) ExecuteActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	if o.h.schedule != nil && !workflow.IsReplaying(ctx) {
		o.h.schedule(activity)
	}
	return o.Next.ExecuteActivity(ctx, activity, args...)
}

// startHooked runs a worker with hooks until the test ends. Its agents reach the
// gateway through the proxy.
func (r rig) startHooked(h *hooks, door *proxy.Proxy) {
	r.t.Helper()
	driver, err := local.New(local.Config{
		StateDir: r.State(),
		Program:  r.Program,
		Grace:    time.Second,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	h.Driver = driver
	r.startInside(func(cfg *worker.Config) {
		cfg.Gateway.Address = door.Addr()
		cfg.Platforms = platforms.Registry{job.PlatformLocal: platforms.Always(h)}
		cfg.Interceptors = []interceptor.WorkerInterceptor{h}
	})
}

// startInside runs a worker inside of the test until that ends.
func (r rig) startInside(change func(*worker.Config)) {
	r.t.Helper()
	c, err := client.Dial(client.Options{HostPort: r.Temporal.Address, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := worker.Config{
		ResourceLocation: r.ResourceLocation,
		Namespace:        devserver.Namespace,
		Wallet:           wallet.Dir(r.Dir + "/wallet"),
		Gateway:          worker.Gateway{Listen: r.Gateway(), KeyFile: filepath.Join(r.Dir, "gateway.key")},
		Log:              slog.New(slog.DiscardHandler),
		EnrolWithin:      time.Minute,
		CELifetime:       15 * time.Minute,
		StateDir:         r.State(),
	}
	change(&cfg)
	w, err := worker.New(c, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("worker: %v", err)
		}
		c.Close()
	})
}

// Cancelled in whatever phase, a job ends as canceled and leaves nothing: no
// output, no partial file, no Compositing Engine.
func TestCancelInEveryPhase(t *testing.T) {
	// hold makes a hook that says that it was reached, and waits for the cancel.
	hold := func(reached chan<- struct{}) func(context.Context) {
		return func(ctx context.Context) {
			close(reached)
			<-ctx.Done()
		}
	}
	for _, c := range []struct {
		phase job.Phase
		// arrange makes the job stop in the phase and close reached there. The
		// function it gives lets it go on after the cancel.
		arrange func(h *hooks, share, door *proxy.Proxy, reached chan struct{}) (release func())
	}{
		{job.PhasePreflight, func(h *hooks, _, _ *proxy.Proxy, reached chan struct{}) func() {
			h.check = hold(reached)
			return nil
		}},
		{job.PhaseCreateCE, func(h *hooks, _, _ *proxy.Proxy, reached chan struct{}) func() {
			h.create = hold(reached)
			return nil
		}},
		{job.PhaseEnrol, func(h *hooks, _, door *proxy.Proxy, reached chan struct{}) func() {
			door.Stall()
			h.schedule = at("WatchCE", reached, nil)
			return nil
		}},
		{job.PhaseCompose, func(h *hooks, share, _ *proxy.Proxy, reached chan struct{}) func() {
			share.StallAfter(proxy.Up, stallInOutput)
			go func() {
				for !share.Stalled() {
					time.Sleep(time.Millisecond)
				}
				close(reached)
			}()
			return share.Resume
		}},
		{job.PhasePublish, func(h *hooks, share, _ *proxy.Proxy, reached chan struct{}) func() {
			h.schedule = at("Publish", reached, share.Stall)
			return share.Resume
		}},
		{job.PhaseTearDown, func(h *hooks, _, _ *proxy.Proxy, reached chan struct{}) func() {
			released := make(chan struct{})
			h.destroy = func(context.Context) {
				close(reached)
				<-released
			}
			return func() { close(released) }
		}},
	} {
		for _, overwrite := range []bool{false, true} {
			name := string(c.phase)
			if overwrite {
				name += " overwriting"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, winimage.Small())
				if overwrite {
					r.earlierOutput()
				}
				before := r.files()
				share, door := proxy.New(t, r.Samba.Addr()), proxy.New(t, r.Gateway())
				h, reached := &hooks{}, make(chan struct{})
				release := c.arrange(h, share, door, reached)
				r.startHooked(h, door)
				id := r.start(r.body(func(b map[string]any) {
					b["inputStorageLocation"].(map[string]any)["port"] = share.Port()
					b["overwriteOutput"] = overwrite
				}))
				select {
				case <-reached:
				case <-time.After(time.Minute):
					t.Fatal("the job did not get there in a minute")
				}
				if s, err := r.Jobs.Get(t.Context(), id); err != nil || s.Phase != c.phase {
					t.Errorf("in phase %s: %v", s.Phase, err)
				}
				if err := r.Jobs.Cancel(t.Context(), id, "a test"); err != nil {
					t.Fatal(err)
				}
				if release != nil {
					time.Sleep(2 * time.Second) // longer than a cancel takes to arrive
					release()
				}
				if s := r.wait(id, 2*time.Minute); s.State != job.StateCanceled {
					t.Errorf("ended as %s in %s: %v", s.State, s.Phase, s.Error)
				}
				if after := r.files(); !same(before, after) {
					t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
				}
				r.noCE()
			})
		}
	}
}

// at makes a hook that acts when an activity is about to be scheduled.
func at(activity string, reached chan<- struct{}, act func()) func(string) {
	return func(scheduled string) {
		if scheduled != activity {
			return
		}
		if act != nil {
			act()
		}
		close(reached)
	}
}
