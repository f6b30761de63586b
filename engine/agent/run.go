package agent

import (
	"context"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"

	"imageport/engine/ntfsmount"
	"imageport/job/durable"
)

// Run polls the queue until ctx ends.
func Run(ctx context.Context, c client.Client, queue string, e *Engine) error {
	// What an agent that was killed has left mounted is in nobody's way, but it
	// adds up.
	_ = ntfsmount.CleanStale(os.TempDir())
	interceptors := []interceptor.WorkerInterceptor{&durable.Interceptor{}}
	if e.Journal != nil {
		interceptors = append(interceptors, &noting{journal: e.Journal})
	}
	fatal := make(chan error, 1)
	w := worker.New(c, queue, worker.Options{
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: 1, // one job, one step at a time
		// What a CE has done between two heartbeats is lost with it.
		MaxHeartbeatThrottleInterval: durable.HeartbeatInterval / 2,
		WorkerStopTimeout:            5 * time.Second,
		OnFatalError: func(err error) {
			select {
			case fatal <- err:
			default: // the first one is enough
			}
		},
		Interceptors: interceptors,
	})
	Register(w, e)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-fatal:
		return err
	}
}
