package starter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

// batchInterval is how often WatchBatch looks.
const batchInterval = time.Second

// StartBatch starts a batch. The body is the JSON of a job.BatchRequest. The error
// is a *job.Error with job.BadRequest for a body that is not valid, and
// job.AlreadyRunning if a batch of that name runs. To start one again that has
// ended does what is left of it. All its jobs are of one resource location.
func (c *Client) StartBatch(ctx context.Context, body json.RawMessage, opts ...StartOption) (Started, error) {
	req, warnings, err := job.ParseBatch(body)
	if err != nil {
		return Started{}, err
	}
	id, err := req.WorkflowID()
	if err != nil {
		return Started{}, err
	}
	images := fmt.Sprintf("%d images", len(req.Images))
	if req.Pattern != "" {
		images = "images " + req.Pattern
	}
	return c.begin(ctx, beginning{
		id: id, resourceLocation: req.ResourceLocation(), workflowType: durable.WorkflowBatch, body: body,
		what: "batch", title: fmt.Sprintf("batch of %s: %.200s", req.Operation, images), warnings: warnings,
	}, opts)
}

// Batch tells how a batch stands. It is named by its id, which stands for the
// latest batch of that name, or by the id of a run. Running jobs have their
// phase and progress.
func (c *Client) Batch(ctx context.Context, id string) (job.BatchReport, error) {
	d, err := c.findBatch(ctx, id)
	if err != nil {
		return job.BatchReport{}, err
	}
	return c.batch(ctx, d)
}

// BatchSummary tells what the Temporal server knows of a batch, without asking a
// worker: as ListBatches does, at once.
func (c *Client) BatchSummary(ctx context.Context, id string) (job.BatchReport, error) {
	d, err := c.findBatch(ctx, id)
	if err != nil {
		return job.BatchReport{}, err
	}
	return batchSummary(d.GetWorkflowExecutionInfo()), nil
}

// findBatch describes the run of a batch that id names, or the one that went on
// from it.
func (c *Client) findBatch(ctx context.Context, id string) (*description, error) {
	d, err := c.findOf(ctx, kindBatch, id)
	if err != nil {
		return nil, err
	}
	return c.latest(ctx, d)
}

// latest describes the run that goes on from the one that d describes, if there is
// one. Where a later batch has the id, it is that one's.
func (c *Client) latest(ctx context.Context, d *description) (*description, error) {
	info := d.GetWorkflowExecutionInfo()
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
		return d, nil
	}
	id := info.GetExecution().GetWorkflowId()
	latest, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, failure("look up batch "+id, err)
	}
	return latest, nil
}

// batch brings together what the server, the worker and the jobs know.
func (c *Client) batch(ctx context.Context, d *description) (job.BatchReport, error) {
	info := d.GetWorkflowExecutionInfo()
	r := batchSummary(info)
	if r.State == job.StateRunning {
		c.answerBatch(ctx, d, &r)
		if ctx.Err() != nil {
			return r, fmt.Errorf("look up batch %s: %w", r.BatchID, ctx.Err())
		}
		c.lookAtJobs(ctx, &r)
		return r, nil
	}
	return r, c.settleBatch(ctx, d, &r)
}

// batchSummary is what the server knows of a batch without asking a worker.
func batchSummary(info *workflow.WorkflowExecutionInfo) job.BatchReport {
	r := job.BatchReport{
		BatchID:          info.GetExecution().GetWorkflowId(),
		RunID:            info.GetExecution().GetRunId(),
		ResourceLocation: info.GetTaskQueue(),
		State:            state(info.GetStatus()),
		Started:          info.GetStartTime().AsTime(),
	}
	if info.GetCloseTime() != nil {
		ended := info.GetCloseTime().AsTime()
		r.Ended = &ended
	}
	return r
}

// answerBatch asks the worker. Where none answers, the report has a warning.
func (c *Client) answerBatch(ctx context.Context, d *description, r *job.BatchReport) {
	patience, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	known := *r
	var answer job.BatchReport
	value, err := c.temporal.QueryWorkflow(patience, r.BatchID, r.RunID, durable.QueryBatch)
	if err == nil {
		err = value.Get(&answer)
	}
	if err != nil {
		r.Warnings = append(r.Warnings, fmt.Sprintf("no worker of resource location %q answers", r.ResourceLocation))
		return
	}
	*r = answer
	r.RunID, r.State, r.Ended = known.RunID, known.State, known.Ended
	if known.State == job.StateRunning && d.GetWorkflowExtendedInfo().GetCancelRequested() {
		r.Warnings = append(r.Warnings, "cancellation was requested: the jobs are cleaning up")
	}
}

// lookAtJobs adds the phase and progress of the running jobs. What the server does
// not tell is left out.
func (c *Client) lookAtJobs(ctx context.Context, r *job.BatchReport) {
	for i := range r.Items {
		item := &r.Items[i]
		if item.State != job.ItemRunning || item.RunID == "" {
			continue
		}
		d, err := c.temporal.DescribeWorkflowExecution(ctx, item.JobID, item.RunID)
		if err != nil {
			continue
		}
		item.Phase, item.Progress = described(d).Phase, progress(d.GetPendingActivities())
	}
}

// settleBatch adds the recorded outcome of a batch that has ended. One that has no
// report, because it failed or was terminated, shows what a worker remembers.
func (c *Client) settleBatch(ctx context.Context, d *description, r *job.BatchReport) error {
	known := *r
	var recorded job.BatchReport
	err := c.temporal.GetWorkflow(ctx, r.BatchID, r.RunID).Get(ctx, &recorded)
	_, ended := errors.AsType[*temporal.WorkflowExecutionError](err)
	if err != nil && !ended {
		return failure("get the report of batch "+r.BatchID, err)
	}
	canceled, isCanceled := errors.AsType[*temporal.CanceledError](err)
	switch {
	case err == nil:
		*r = recorded
	case isCanceled && canceled.HasDetails() && canceled.Details(&recorded) == nil:
		*r = recorded
	default:
		c.answerBatch(ctx, d, r)
		if _, terminated := errors.AsType[*temporal.TerminatedError](err); terminated {
			r.Error = job.Errorf(job.JobTerminated, "Its jobs were asked to stop; start it again to do what is left", "batch %s was terminated", r.BatchID)
		} else if !isCanceled {
			r.Error = durable.FromFailure(err)
		}
	}
	r.RunID, r.State, r.Ended = known.RunID, known.State, known.Ended
	return nil
}

// WatchBatch gives the report of a batch at once, and again whenever it has
// changed, until the batch has ended. An error ends the sequence.
func (c *Client) WatchBatch(ctx context.Context, id string) iter.Seq2[job.BatchReport, error] {
	return func(yield func(job.BatchReport, error) bool) {
		ticker := time.NewTicker(batchInterval)
		defer ticker.Stop()
		d, err := c.findBatch(ctx, id)
		var last *job.BatchReport
		for {
			var r job.BatchReport
			if err == nil {
				r, err = c.batch(ctx, d)
			}
			if err != nil {
				yield(r, err)
				return
			}
			if (last == nil || !reflect.DeepEqual(r, *last)) && !yield(r, nil) {
				return
			}
			if last = &r; r.State != job.StateRunning {
				return
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
			if d, err = c.describe(ctx, d); err == nil {
				d, err = c.latest(ctx, d)
			}
		}
	}
}

// CancelBatch asks a batch to stop: its jobs clean up, and no more are begun. It
// does not wait for the end.
func (c *Client) CancelBatch(ctx context.Context, id, reason string) error {
	d, err := c.findBatch(ctx, id)
	if err != nil {
		return err
	}
	r := batchSummary(d.GetWorkflowExecutionInfo())
	if r.State == job.StateRunning {
		// The run may go on in another one: the id names the one that runs.
		err := c.temporal.CancelWorkflowWithOptions(ctx, client.CancelWorkflowOptions{WorkflowID: r.BatchID, Reason: reason})
		if err == nil {
			return nil
		}
		if !isNotFound(err) {
			return failure("cancel batch "+id, err)
		}
		if d, err = c.findBatch(ctx, r.RunID); err != nil { // it ended just now
			return err
		}
		r = batchSummary(d.GetWorkflowExecutionInfo())
	}
	if r.State == job.StateCanceled {
		return nil
	}
	return job.Errorf(job.JobEnded, "There is nothing to cancel", "batch %s is %s", id, r.State)
}
