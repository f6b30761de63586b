package starter

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

// Sweep removes the Compositing Engines of a resource location whose jobs run
// no more, and waits until that is done. There is one such sweep at a time. When
// ctx ends, the sweep goes on without being waited for. What could not be
// removed or looked at is in the result, and no error.
func (c *Client) Sweep(ctx context.Context, resourceLocation string, req job.SweepRequest) (job.SweepResult, error) {
	if resourceLocation == "" {
		return job.SweepResult{}, job.Errorf(job.BadRequest, "Give the id of the resource location whose Compositing Engines are to be looked at", "the resource location is empty")
	}
	if !c.isServed(ctx, resourceLocation) {
		return job.SweepResult{}, job.Errorf(job.BadRequest, "Check the id, or start a worker", "no worker serves resource location %q", resourceLocation)
	}
	kind := "remove"
	if req.DryRun {
		kind = "show"
	}
	id := durable.SweepNow(resourceLocation)
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                resourceLocation,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// Without this the SDK passes off the running sweep as the one asked for.
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            kind + " the Compositing Engines of jobs that run no more",
	}, durable.WorkflowSweep, req)
	if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); running {
		return job.SweepResult{}, job.Errorf(job.AlreadyRunning, "Wait until it has ended", "a sweep of resource location %q runs already", resourceLocation)
	}
	if err != nil {
		return job.SweepResult{}, failure("start "+id, err)
	}
	var result job.SweepResult
	if err := run.Get(ctx, &result); err != nil {
		return job.SweepResult{}, sweepFailure(id, err)
	}
	return result, nil
}

// sweepFailure says why a sweep has no result.
func sweepFailure(id string, err error) error {
	if _, ended := errors.AsType[*temporal.WorkflowExecutionError](err); !ended {
		return fmt.Errorf("%w (the sweep itself goes on)", failure("wait for "+id, err))
	}
	if temporal.IsCanceledError(err) {
		return job.Errorf(job.JobCanceled, "", "%s was canceled", id)
	}
	if _, terminated := errors.AsType[*temporal.TerminatedError](err); terminated {
		return job.Errorf(job.JobTerminated, "", "%s was terminated", id)
	}
	return durable.FromFailure(err)
}
