package e2e

import (
	"syscall"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// stallInOutput lets a share work through a proxy until a good part of an
// output is written, and no further.
const stallInOutput = 3 << 20

// proxied gives a request whose share is reached through p.
func (r rig) proxied(p *proxy.Proxy) []byte {
	return r.body(func(b map[string]any) { b["inputStorageLocation"].(map[string]any)["port"] = p.Port() })
}

// otherOutput is proxied with another output.
func (r rig) otherOutput(p *proxy.Proxy, output string) []byte {
	return r.body(func(b map[string]any) {
		b["inputStorageLocation"].(map[string]any)["port"] = p.Port()
		b["outputImageFilename"] = output
	})
}

// killAgents ends all Compositing Engines of the site like a power cut.
func (r rig) killAgents() {
	r.t.Helper()
	for _, pid := range r.agents() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r rig) until(what string, ok func() bool) {
	r.t.Helper()
	r.within(time.Minute, what, ok)
}

func (r rig) within(limit time.Duration, what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %v until %s", limit, what)
		}
	}
}

// The worker is killed in the middle of composing, then the agent, too: the
// job completes on another agent, with one output and nothing left over.
func TestKillWorkerThenAgent(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	worker := r.startWorker()
	before := r.files()
	p := proxy.New(t, r.Samba.Addr())
	p.StallAfter(proxy.Up, stallInOutput)
	id := r.start(r.proxied(p))
	r.until("the output is half written", p.Stalled)

	worker.Kill()
	agents := r.agents()
	if len(agents) != 1 {
		t.Fatalf("agents %v outlived the worker, want one", agents)
	}
	r.startWorker()
	if now := r.agents(); len(now) != 1 || now[0] != agents[0] {
		t.Fatalf("agents %v, the first was %v", now, agents)
	}
	r.killAgents()
	p.Cut()
	p.Resume()

	res := r.completed(id, 3*time.Minute)
	if res.CompositingEngines != 2 {
		t.Errorf("it took %d Compositing Engines, want 2", res.CompositingEngines)
	}
	after := r.files()
	if len(after) != 2 || after[site.Image] != before[site.Image] || r.sha256(res.OutputFile) != res.SHA256 {
		t.Errorf("the share has %v, at first %v", after, before)
	}
	r.noCE()
}

// The worker alone is killed: its Compositing Engine goes on, and is found
// again by the next worker.
func TestKillWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	worker := r.startWorker()
	p := proxy.New(t, r.Samba.Addr())
	p.StallAfter(proxy.Up, stallInOutput)
	id := r.start(r.proxied(p))
	r.until("the output is half written", p.Stalled)
	worker.Kill()
	p.Resume()
	r.startWorker()
	if res := r.completed(id, time.Minute); res.CompositingEngines != 1 {
		t.Errorf("it took %d Compositing Engines", res.CompositingEngines)
	}
	r.noCE()
}

// Two jobs under different ids write one output. The one that was started
// first completes, the other one is refused while the first still runs.
func TestTwoJobsOneOutput(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	r.startWorker()
	p := proxy.New(t, r.Samba.Addr())
	p.StallAfter(proxy.Up, stallInOutput)
	first, second := "first "+r.ResourceLocation, "second "+r.ResourceLocation
	body := r.proxied(p)
	r.startAs(first, r.ResourceLocation, body)
	r.until("the output is half written", p.Stalled)
	r.startAs(second, r.ResourceLocation, body)
	if s := r.wait(second, time.Minute); s.Error == nil || s.Error.Code != job.OutputInUse {
		t.Errorf("the second ended as %s with %v", s.State, s.Error)
	}
	p.Resume()
	r.completed(first, time.Minute)
	if files := r.files(); len(files) != 2 {
		t.Errorf("the share has %v", files)
	}
	r.noCE()
}

// Jobs that start at the same moment, each with another id, through another
// name of the same share: nothing but the share itself can tell them apart.
func TestTwoJobsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	r.startWorker()
	jobs := []string{"a " + r.ResourceLocation, "b " + r.ResourceLocation, "c " + r.ResourceLocation}
	for _, id := range jobs {
		r.startAs(id, r.ResourceLocation, r.proxied(proxy.New(t, r.Samba.Addr())))
	}
	completed := 0
	for _, id := range jobs {
		switch s := r.wait(id, 2*time.Minute); {
		case s.State == job.StateCompleted:
			completed++
			if s.Result.SHA256 != r.sha256(s.Result.OutputFile) {
				t.Errorf("%s completed, but the output is another one's", id)
			}
		case s.Error == nil || s.Error.Code != job.OutputExists && s.Error.Code != job.OutputInUse:
			t.Errorf("%s ended as %s with %v", id, s.State, s.Error)
		}
	}
	if completed != 1 {
		t.Errorf("%d of %d jobs completed", completed, len(jobs))
	}
	if files := r.files(); len(files) != 2 {
		t.Errorf("the share has %v", files)
	}
	r.noCE()
}
