package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/job/durable"
)

// Client starts and follows jobs and batches. It may be used concurrently.
type Client struct {
	temporal client.Client
	runs     *runIndex
	allowed  func(resourceLocation string) bool // nil: all
}

// New gives a Client that works in the namespace of c. Closing c is left to
// the caller.
func New(c client.Client) *Client { return &Client{temporal: c, runs: new(runIndex)} }

// Only gives a Client that starts nothing in a resource location that allowed
// reports false for (the error is job.Forbidden), and that does not know what
// there is in one: it is not found, and no worker is asked.
func (c *Client) Only(allowed func(resourceLocation string) bool) *Client {
	only := *c
	only.allowed = allowed
	return &only
}

func (c *Client) allows(resourceLocation string) bool {
	return c.allowed == nil || c.allowed(resourceLocation)
}

// description is what the Temporal server itself knows of a run.
type description = workflowservice.DescribeWorkflowExecutionResponse

// kind is what a run may be of.
type kind struct {
	name, plural string
	types        []string // of its workflows
}

var (
	// operations are the workflow types that are jobs.
	operations = []job.Operation{job.OpConvertToUEFI, job.OpReverseImage, job.OpUpgradePVS}

	kindJob   = kind{"job", "jobs", []string{string(job.OpConvertToUEFI), string(job.OpReverseImage), string(job.OpUpgradePVS)}}
	kindBatch = kind{"batch", "batches", []string{durable.WorkflowBatch}}
)

// find describes the run of a job that id names.
func (c *Client) find(ctx context.Context, id string) (*description, error) {
	return c.findOf(ctx, kindJob, id)
}

// findOf describes the run of that kind that id names.
func (c *Client) findOf(ctx context.Context, k kind, id string) (*description, error) {
	if id == "" {
		return nil, job.Errorf(job.BadRequest, "Give the id of a "+k.name, "the id of the %s is empty", k.name)
	}
	d, err := c.look(ctx, id)
	info := d.GetWorkflowExecutionInfo()
	if isNotFound(err) || err == nil && !c.allows(info.GetTaskQueue()) {
		return nil, job.Errorf(job.JobNotFound, fmt.Sprintf("List the %s to see what there is; Temporal forgets ended ones after the namespace's retention", k.plural), "there is no %s with the id %q", k.name, id)
	}
	if err != nil {
		return nil, failure(fmt.Sprintf("look up %s %s", k.name, id), err)
	}
	c.runs.add(info.GetExecution().GetRunId(), info.GetExecution().GetWorkflowId())
	if name := info.GetType().GetName(); !slices.Contains(k.types, name) {
		return nil, job.Errorf(job.JobNotFound, fmt.Sprintf("List the %s to see what there is", k.plural), "%q is a workflow of type %q, which is not a %s", id, name, k.name)
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

// findRun describes the run with the run id given. A run that is not there is
// asked for a few times, with growing pauses.
func (c *Client) findRun(ctx context.Context, runID string) (*description, error) {
	pause := 50 * time.Millisecond
	for deadline := time.Now().Add(visibleWithin); ; pause *= 2 {
		found, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: "RunId = " + quote(runID)})
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
		case <-time.After(pause):
		}
	}
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
