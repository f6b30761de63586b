package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

const (
	// answerWithin is how long a worker may take to answer how a job stands.
	answerWithin = 2 * time.Second
	// askAgain is the pause after which a worker that did not answer is asked
	// again.
	askAgain = 5 * time.Second
)

// Get tells how a job stands. Where no worker answers, the status has what the
// Temporal server knows, and a warning.
func (c *Client) Get(ctx context.Context, id string) (job.Status, error) {
	d, err := c.find(ctx, id)
	if err != nil {
		return job.Status{}, err
	}
	v := view{client: c}
	return v.status(ctx, d)
}

// Summary tells what the Temporal server knows of a job, without asking a
// worker: as List does, at once.
func (c *Client) Summary(ctx context.Context, id string) (job.Status, error) {
	d, err := c.find(ctx, id)
	if err != nil {
		return job.Status{}, err
	}
	return described(d), nil
}

// view is what is known of one run. It is kept between the polls of a Watch,
// so that the worker is asked only when the job has moved.
type view struct {
	client *Client
	answer *job.Status // the worker's last answer; nil where there is none
	failed error       // why the worker's last answer did not come
	asked  time.Time
	events int64 // length of the history when the worker was asked
}

// status brings together what the server and the worker know of the run that
// d describes.
func (v *view) status(ctx context.Context, d *description) (job.Status, error) {
	moved := d.GetWorkflowExecutionInfo().GetHistoryLength() != v.events
	if moved || v.failed != nil && time.Since(v.asked) > askAgain {
		if err := v.ask(ctx, d); err != nil {
			return job.Status{}, err
		}
		if v.answer != nil && v.answer.State != job.StateRunning && described(d).State == job.StateRunning {
			// The job ended between the description and the answer.
			again, err := v.client.describe(ctx, d)
			if err != nil {
				return job.Status{}, err
			}
			d = again
		}
	}
	s := described(d)
	if v.answer != nil {
		s = v.answered(s)
	}
	if s.State == job.StateRunning {
		v.warn(&s, d)
		s.Progress = progress(d.GetPendingActivities())
		return s, nil
	}
	return s, v.client.settle(ctx, &s)
}

// ask queries the worker. The error is only ever the context's.
func (v *view) ask(ctx context.Context, d *description) error {
	info := d.GetWorkflowExecutionInfo()
	v.asked, v.events = time.Now(), info.GetHistoryLength()
	patience, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var answer job.Status
	value, err := v.client.temporal.QueryWorkflow(patience, info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId(), durable.QueryStatus)
	if err == nil {
		err = value.Get(&answer)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("look up job %s: %w", info.GetExecution().GetWorkflowId(), ctx.Err())
	}
	v.failed = err
	if err == nil {
		v.answer = &answer
	}
	return nil
}

// answered adds to the server's view what only the worker knows.
func (v *view) answered(s job.Status) job.Status {
	a := *v.answer
	a.JobID, a.RunID, a.ResourceLocation, a.State, a.Started, a.Ended = s.JobID, s.RunID, s.ResourceLocation, s.State, s.Started, s.Ended
	a.Warnings = slices.Clone(a.Warnings)
	if a.State != job.StateRunning {
		a.Error, a.Result = nil, nil // as recorded, see settle
	}
	return a
}

// warn adds what keeps a running job from getting on.
func (v *view) warn(s *job.Status, d *description) {
	queue := d.GetWorkflowExecutionInfo().GetTaskQueue()
	switch _, late := errors.AsType[*serviceerror.DeadlineExceeded](v.failed); {
	case v.failed == nil:
	case late || errors.Is(v.failed, context.DeadlineExceeded):
		s.Warnings = append(s.Warnings, fmt.Sprintf("no worker of resource location %q answers", queue))
	default:
		s.Warnings = append(s.Warnings, fmt.Sprintf("no worker of resource location %q answers: %s", queue, v.failed))
	}
	if d.GetWorkflowExtendedInfo().GetCancelRequested() {
		if v.failed != nil {
			s.Warnings = append(s.Warnings, fmt.Sprintf("cancellation was requested; it takes effect when a worker of resource location %q runs. If there is none of that name, end the job with temporal workflow terminate", queue))
		} else {
			s.Warnings = append(s.Warnings, "cancellation was requested: the job is cleaning up")
		}
	}
	if attempt := d.GetPendingWorkflowTask().GetAttempt(); attempt > 1 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the worker of resource location %q cannot carry the job on (attempt %d): look at its log", queue, attempt))
	}
	for _, a := range d.GetPendingActivities() {
		if a.GetLastFailure() == nil || a.GetActivityType().GetName() == durable.ActivityWatch {
			continue
		}
		e := durable.FromFailure(temporal.GetDefaultFailureConverter().FailureToError(a.GetLastFailure()))
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s is on attempt %d, the one before failed: %s: %s", a.GetActivityType().GetName(), a.GetAttempt(), e.Code, e))
	}
}

// progress is what the pending activity's last heartbeat told.
func progress(pending []*workflow.PendingActivityInfo) *job.Progress {
	for _, a := range pending {
		var p job.Progress
		if err := converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), &p); err == nil && p.Step != "" {
			return &p
		}
	}
	return nil
}
