package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"imageport/job"
)

// Client starts and follows jobs. It may be used concurrently.
type Client struct {
	temporal client.Client
	runs     runIndex
}

// New gives a Client that works in the namespace of c. Closing c is left to
// the caller.
func New(c client.Client) *Client { return &Client{temporal: c} }

// description is what the Temporal server itself knows of a run.
type description = workflowservice.DescribeWorkflowExecutionResponse

// operations are the workflow types that are jobs.
var operations = []job.Operation{job.OpConvertToUEFI, job.OpReverseImage, job.OpUpgradePVS}

// find describes the run that id names.
func (c *Client) find(ctx context.Context, id string) (*description, error) {
	if id == "" {
		return nil, job.Errorf(job.BadRequest, "Give the id of a job", "the job id is empty")
	}
	d, err := c.look(ctx, id)
	if isNotFound(err) {
		return nil, job.Errorf(job.JobNotFound, "List the jobs to see what there is; Temporal forgets ended ones after the namespace's retention", "there is no job %q", id)
	}
	if err != nil {
		return nil, failure("look up job "+id, err)
	}
	if name := d.GetWorkflowExecutionInfo().GetType().GetName(); !isOperation(name) {
		return nil, job.Errorf(job.JobNotFound, "List the jobs to see what there is", "%q is a workflow of type %q, which is not a job", id, name)
	}
	return d, nil
}

// look describes the run that id names, whatever it is a run of.
func (c *Client) look(ctx context.Context, id string) (*description, error) {
	if jobID, ok := c.runs.job(id); ok {
		return c.temporal.DescribeWorkflowExecution(ctx, jobID, id)
	}
	d, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	if isNotFound(err) && isRunID(id) {
		return c.findRun(ctx, id)
	}
	return d, err
}

// visibleWithin is how long Temporal may take until a run that was just started
// is found by its run id.
const visibleWithin = 2 * time.Second

// findRun describes the run with the run id given.
func (c *Client) findRun(ctx context.Context, runID string) (*description, error) {
	for deadline := time.Now().Add(visibleWithin); ; {
		found, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("RunId = '%s'", runID)})
		if err != nil {
			return nil, err
		}
		if runs := found.GetExecutions(); len(runs) > 0 {
			jobID := runs[0].GetExecution().GetWorkflowId()
			c.runs.add(runID, jobID)
			return c.temporal.DescribeWorkflowExecution(ctx, jobID, runID)
		}
		if time.Now().After(deadline) {
			return nil, serviceerror.NewNotFound("no such run")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func isOperation(name string) bool {
	for _, op := range operations {
		if string(op) == name {
			return true
		}
	}
	return false
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*serviceerror.NotFound](err)
	return ok
}

// failure says what could not be done for an error of a call to the server.
func failure(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if _, canceled := errors.AsType[*serviceerror.Canceled](err); canceled {
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	}
	_, unavailable := errors.AsType[*serviceerror.Unavailable](err)
	_, late := errors.AsType[*serviceerror.DeadlineExceeded](err)
	if unavailable || late {
		return job.Errorf(job.TemporalUnreachable, "Check the address of the Temporal server and that it runs", "%s: the Temporal server does not answer: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Ping reports whether the Temporal server answers.
func (c *Client) Ping(ctx context.Context) error {
	if _, err := c.temporal.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return failure("look whether Temporal is well", err)
	}
	return nil
}
