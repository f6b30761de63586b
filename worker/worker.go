package worker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"imageport/activities"
	"imageport/engine/agent"
	"imageport/engine/ntfsmount"
	"imageport/engine/share"
	"imageport/gateway"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
	"imageport/platforms/local"
	"imageport/platforms/qemu"
	"imageport/workflows"
)

const (
	localPlatform = job.PlatformLocal
	// stopTimeout is how long activities may go on when the worker stops.
	stopTimeout = 10 * time.Second
)

// Worker serves one resource location.
type Worker struct {
	client  client.Client
	cfg     Config
	drivers platforms.Registry
	worker  worker.Worker
	gateway *gateway.Gateway
	fatal   chan error
}

// New assembles a worker. It makes the state directory of the platform
// "local", and asks nothing of the Temporal server yet.
func New(c client.Client, cfg Config) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("worker configuration: %w", err)
	}
	w := &Worker{client: c, cfg: cfg, fatal: make(chan error, 1)}
	if err := w.openPlatforms(); err != nil {
		return nil, fmt.Errorf("worker configuration: %w", err)
	}
	if err := w.openGateway(); err != nil {
		return nil, err
	}
	w.worker = worker.New(c, cfg.ResourceLocation, worker.Options{
		Interceptors:                 append(slices.Clone(cfg.Interceptors), interceptor.WorkerInterceptor(&durable.Interceptor{})),
		MaxHeartbeatThrottleInterval: durable.HeartbeatInterval,
		WorkerStopTimeout:            stopTimeout,
		DeploymentOptions:            cfg.Version.options(),
		OnFatalError: func(err error) {
			select {
			case w.fatal <- err:
			default: // the first one is enough
			}
		},
	})
	workflows.Register(w.worker)
	w.worker.RegisterActivity(&activities.Controller{
		Owner:       cfg.ResourceLocation,
		Platforms:   w.drivers,
		Catalogue:   cfg.Catalogue,
		Dial:        agent.Dialer(w.shareCredential, share.Options{Driver: cfg.ShareDriver}),
		Invite:      w.invite,
		EnrolWithin: cfg.EnrolWithin,
		CELifetime:  cfg.CELifetime,
	})
	return w, nil
}

// options are the SDK's for the version.
func (v Version) options() worker.DeploymentOptions {
	if v.Deployment == "" {
		return worker.DeploymentOptions{}
	}
	behavior := workflow.VersioningBehaviorAutoUpgrade
	if v.Pinned {
		behavior = workflow.VersioningBehaviorPinned
	}
	return worker.DeploymentOptions{
		UseVersioning:             true,
		Version:                   worker.WorkerDeploymentVersion{DeploymentName: v.Deployment, BuildID: v.BuildID},
		DefaultVersioningBehavior: behavior,
	}
}

// openPlatforms gives the worker its platforms.
func (w *Worker) openPlatforms() error {
	w.drivers = platforms.Registry{}
	if !w.cfg.replacesLocal() {
		driver, err := local.New(local.Config{StateDir: w.cfg.StateDir, Program: w.cfg.AgentProgram, OutputDir: w.cfg.OutputDir, Guest: w.cfg.Guest})
		if err != nil {
			return err
		}
		w.drivers[localPlatform] = platforms.Always(driver)
	}
	if w.cfg.QEMU.Image != "" {
		driver, err := qemu.New(w.cfg.QEMU)
		if err != nil {
			return err
		}
		w.drivers[job.PlatformQEMU] = platforms.Always(driver)
	}
	maps.Copy(w.drivers, w.cfg.Platforms)
	return nil
}

func (w *Worker) log() *slog.Logger { return cmp.Or(w.cfg.Log, slog.Default()) }

// Run serves the resource location until ctx ends, which is no error. Then it
// waits for the activities that are under way, for ten seconds at most; what
// they leave unfinished, another worker takes up. A Worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	// What a worker that was killed has left mounted is in nobody's way, but it
	// adds up.
	_ = ntfsmount.CleanStale(os.TempDir())
	if err := registerAttributes(ctx, w.client, w.cfg.Namespace); err != nil {
		w.gateway.Close()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	// The gateway closes last: until the end, CEs are to be heard.
	door, closeDoor := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return w.gateway.Serve(door) })
	group.Go(func() error {
		w.scheduleSweeps(ctx)
		return nil
	})
	group.Go(func() error {
		defer closeDoor()
		if err := w.worker.Start(); err != nil {
			return fmt.Errorf("start the worker: %w", err)
		}
		defer w.worker.Stop()
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.fatal:
			return fmt.Errorf("the worker cannot go on: %w", err)
		}
	})
	return group.Wait()
}
