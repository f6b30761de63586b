package durable_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
	"imageport/testkit/devserver"
)

type state struct{ Done int }

// found is what attempts found of those before, and the workflow of the last.
type found struct {
	Attempts []int // -1: nothing
	Last     int
}

// A checkpoint outlives an attempt that fails, one that comes to nothing, and one
// that never answers.
func TestCheckpoint(t *testing.T) {
	c := devserver.Start(t)
	for name, test := range map[string]struct {
		checkpoint bool
		want       found
	}{
		"with":    {true, found{[]int{-1, 5, 5}, 5}},
		"without": {false, found{[]int{-1, -1, -1}, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts []int
			work := func(ctx context.Context) error {
				s := state{-1}
				if ok := durable.EarlierCheckpoint(ctx, &s); !ok && s.Done != -1 {
					t.Error("it has set what is not there")
				}
				attempts = append(attempts, s.Done)
				durable.Report(ctx, job.Progress{Step: "work"})
				switch activity.GetInfo(ctx).Attempt {
				case 1:
					if test.checkpoint {
						durable.Checkpoint(ctx, state{4})
						durable.Checkpoint(ctx, state{5})
					}
					return errors.New("broken")
				case 2:
					return errors.New("comes to nothing")
				}
				<-ctx.Done() // never answers in time
				return ctx.Err()
			}
			flow := func(ctx workflow.Context) (int, error) {
				err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
					StartToCloseTimeout: 2 * time.Second, HeartbeatTimeout: time.Minute,
					RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 3},
				}), "work").Get(ctx, nil)
				last := state{-1}
				if durable.LastCheckpoint(err, &last) == (last.Done == -1) {
					return 0, errors.New("it says something else than it gives")
				}
				return last.Done, nil
			}
			queue := "durable-" + t.Name()
			w := worker.New(c, queue, worker.Options{Interceptors: []interceptor.WorkerInterceptor{&durable.Interceptor{}}})
			w.RegisterActivityWithOptions(work, activity.RegisterOptions{Name: "work"})
			w.RegisterWorkflowWithOptions(flow, workflow.RegisterOptions{Name: "flow"})
			if err := w.Start(); err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: queue}, "flow")
			if err != nil {
				t.Fatal(err)
			}
			var last int
			if err := run.Get(t.Context(), &last); err != nil {
				t.Fatal(err)
			}
			if len(attempts) != 3 || attempts[0] != test.want.Attempts[0] || attempts[1] != test.want.Attempts[1] || attempts[2] != test.want.Attempts[2] || last != test.want.Last {
				t.Errorf("attempts found %v and the workflow %d, want %+v", attempts, last, test.want)
			}
		})
	}
	if durable.LastCheckpoint(nil, new(state)) || durable.LastCheckpoint(errors.New("other"), new(state)) {
		t.Error("a checkpoint out of nothing")
	}
}
