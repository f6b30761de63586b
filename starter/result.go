package starter

import (
	"context"
	"errors"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

// Result waits until a job has ended and gives its result. Where it has none,
// the error is a *job.Error: the failure of the job, job.JobCanceled, or
// job.JobTerminated.
func (c *Client) Result(ctx context.Context, id string) (job.Result, error) {
	d, err := c.find(ctx, id)
	if err != nil {
		return job.Result{}, err
	}
	e := d.GetWorkflowExecutionInfo().GetExecution()
	return c.result(ctx, e.GetWorkflowId(), e.GetRunId())
}

func (c *Client) result(ctx context.Context, id, runID string) (job.Result, error) {
	var r job.Result
	err := c.temporal.GetWorkflow(ctx, id, runID).Get(ctx, &r)
	if err == nil {
		return r, nil
	}
	if _, ended := errors.AsType[*temporal.WorkflowExecutionError](err); !ended {
		return job.Result{}, failure("get the result of job "+id, err)
	}
	if temporal.IsCanceledError(err) {
		return job.Result{}, job.Errorf(job.JobCanceled, "Start it again if the result is wanted", "job %s was canceled", id)
	}
	if _, terminated := errors.AsType[*temporal.TerminatedError](err); terminated {
		return job.Result{}, job.Errorf(job.JobTerminated, "Its Compositing Engine goes with the next sweep, or now with: imageport sweep. Remove its partial files beside the output by hand", "job %s was terminated, without clean-up", id)
	}
	return job.Result{}, durable.FromFailure(err)
}

// settle adds the recorded outcome to the status of a job that has ended.
func (c *Client) settle(ctx context.Context, s *job.Status) error {
	r, err := c.result(ctx, s.JobID, s.RunID)
	e, coded := errors.AsType[*job.Error](err)
	switch {
	case err == nil:
		s.Result, s.Output = &r, r.Output
		if len(s.Warnings) == 0 {
			s.Warnings = r.Warnings
		}
	case !coded || e.Code == job.TemporalUnreachable:
		return err
	case e.Code != job.JobCanceled:
		s.Error = e
	}
	return nil
}

// Cancel asks a job to stop and clean up. It does not wait for the end: Watch
// and Result do. A job that is canceled already is no error; one that has
// ended otherwise is job.JobEnded.
func (c *Client) Cancel(ctx context.Context, id, reason string) error {
	d, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	if !isEnded(d) {
		e := d.GetWorkflowExecutionInfo().GetExecution()
		err := c.temporal.CancelWorkflowWithOptions(ctx, client.CancelWorkflowOptions{WorkflowID: e.GetWorkflowId(), RunID: e.GetRunId(), Reason: reason})
		if err == nil {
			return nil
		}
		if !isNotFound(err) {
			return failure("cancel job "+id, err)
		}
		if d, err = c.describe(ctx, d); err != nil { // it ended just now
			return err
		}
	}
	s := described(d)
	if s.State == job.StateCanceled {
		return nil
	}
	ended := ""
	if s.Ended != nil {
		ended = " since " + moment(*s.Ended)
	}
	return job.Errorf(job.JobEnded, "There is nothing to cancel", "job %s is %s%s", id, s.State, ended)
}
