package starter_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
)

// serveSweeps runs a worker whose sweeps are those of the test.
func (s site) serveSweeps(t *testing.T, sweep func(ctx workflow.Context, req job.SweepRequest) (*job.SweepResult, error)) {
	t.Helper()
	w := worker.New(s.temporal, s.queue, worker.Options{})
	w.RegisterWorkflowWithOptions(sweep, workflow.RegisterOptions{Name: durable.WorkflowSweep})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d, err := s.temporal.DescribeTaskQueue(t.Context(), s.queue, enums.TASK_QUEUE_TYPE_WORKFLOW)
		if err == nil && len(d.GetPollers()) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the worker does not poll: %v", err)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serveSweeps(t, func(ctx workflow.Context, req job.SweepRequest) (*job.SweepResult, error) {
		if req.MinAge != nil {
			return nil, durable.Failure(job.Errorf(job.TemporalUnreachable, "Wait", "no visibility"))
		}
		if !req.DryRun {
			return nil, workflow.Sleep(ctx, time.Hour)
		}
		return &job.SweepResult{DryRun: true, Removed: []job.SweptCE{{CE: "ce-0123456789ab", Age: job.Period(time.Hour)}}}, nil
	})
	r, err := s.Sweep(t.Context(), s.queue, job.SweepRequest{DryRun: true})
	if err != nil || !r.DryRun || len(r.Removed) != 1 || r.Removed[0].Age != job.Period(time.Hour) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.Sweep(t.Context(), s.queue, job.SweepRequest{MinAge: new(job.Period)}); job.CodeOf(err) != job.TemporalUnreachable || err.Error() != "no visibility. Wait" {
		t.Errorf("it fails: %v", err)
	}
	for _, tc := range []struct {
		end  func(id string) error
		code job.Code
	}{
		{func(id string) error { return s.temporal.CancelWorkflow(t.Context(), id, "") }, job.JobCanceled},
		{func(id string) error { return s.temporal.TerminateWorkflow(t.Context(), id, "", "") }, job.JobTerminated},
	} {
		ended := make(chan error, 1)
		go func() {
			_, err := s.Sweep(t.Context(), s.queue, job.SweepRequest{})
			ended <- err
		}()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			d, err := s.temporal.DescribeWorkflow(t.Context(), durable.SweepNow(s.queue), "")
			if err == nil && d.WorkflowCloseTime == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the sweep does not begin")
			}
		}
		if _, err := s.Sweep(t.Context(), s.queue, job.SweepRequest{}); job.CodeOf(err) != job.AlreadyRunning {
			t.Errorf("a second one: %v", err)
		}
		if err := tc.end(durable.SweepNow(s.queue)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; job.CodeOf(err) != tc.code {
			t.Errorf("got %v, want %s", err, tc.code)
		}
	}
}

func TestSweepIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serveSweeps(t, func(ctx workflow.Context, _ job.SweepRequest) (*job.SweepResult, error) {
		return nil, workflow.Sleep(ctx, time.Hour)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := s.Sweep(ctx, s.queue, job.SweepRequest{}); err == nil || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("%v", err)
	}
	for id, says := range map[string]string{"": "is empty", "nobody-" + s.queue: "no worker serves"} {
		if _, err := s.Sweep(t.Context(), id, job.SweepRequest{}); job.CodeOf(err) != job.BadRequest || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
