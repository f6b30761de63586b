package starter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"imageport/job"
)

// memoRequestID is the memo in which a job keeps the request that made it.
const memoRequestID = "requestId"

// maxSummaryBytes is Temporal's limit for a workflow's summary.
const maxSummaryBytes = 400

// Started is a job that Start has started.
type Started struct {
	JobID string `json:"jobId"`
	RunID string `json:"runId"`
	// Again is set if an earlier start with the same request id made the job.
	Again    bool     `json:"again,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// StartOption changes how a job is started.
type StartOption func(*startOptions)

type startOptions struct {
	requestID string
	allowed   func(resourceLocation string) bool
}

// allows reports whether the caller may know of jobs of a resource location.
func (o startOptions) allows(resourceLocation string) bool {
	return o.allowed == nil || o.allowed(resourceLocation)
}

// RequestID makes Start idempotent: while the image's latest job is the one
// that a request of that id started, starting again gives that job, whether it
// still runs or not.
func RequestID(id string) StartOption { return func(o *startOptions) { o.requestID = id } }

// Allowed makes Start refuse requests for a resource location that it reports
// false for, with job.Forbidden, and tell nothing of the jobs there.
func Allowed(allowed func(resourceLocation string) bool) StartOption {
	return func(o *startOptions) { o.allowed = allowed }
}

// Start starts an operation. The body is the specification's JSON. The error
// is a *job.Error with job.BadRequest for a body that is not valid, with what
// is wrong with it, and job.AlreadyRunning if the image has a running job.
func (c *Client) Start(ctx context.Context, op job.Operation, body json.RawMessage, opts ...StartOption) (Started, error) {
	var o startOptions
	for _, opt := range opts {
		opt(&o)
	}
	p, err := parse(op, body)
	if err != nil {
		return Started{}, err
	}
	if !o.allows(p.request.ResourceLocationID) {
		return Started{}, job.Errorf(job.Forbidden, "Name a resource location that you may use, or ask for the right to use this one", "you may not start jobs in the resource location %q", p.request.ResourceLocationID)
	}
	id, err := p.request.WorkflowID()
	if err != nil {
		return Started{}, err
	}
	if o.requestID != "" {
		earlier, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
		if err != nil && !isNotFound(err) {
			return Started{}, failure("look for an earlier start of "+id, err)
		}
		if requestID(earlier) == o.requestID && o.allows(earlier.GetWorkflowExecutionInfo().GetTaskQueue()) {
			return again(earlier, p.warnings), nil
		}
	}
	options := client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                p.request.ResourceLocationID,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// Without this the SDK passes off the running job as the one asked for.
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            p.summary(op),
	}
	if o.requestID != "" {
		options.Memo = map[string]any{memoRequestID: o.requestID}
	}
	run, err := c.temporal.ExecuteWorkflow(ctx, options, string(op), body)
	if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); running {
		return c.alreadyRunning(ctx, id, o, p.warnings)
	}
	if err != nil {
		return Started{}, failure("start "+id, err)
	}
	c.runs.add(run.GetRunID(), run.GetID())
	started := Started{JobID: run.GetID(), RunID: run.GetRunID(), Warnings: p.warnings}
	if !c.isServed(ctx, options.TaskQueue) {
		started.Warnings = append(started.Warnings, fmt.Sprintf("no worker serves resource location %q at the moment: the job waits for one", options.TaskQueue))
	}
	return started, nil
}

// StartConvertToUEFI starts a convertToUefi job.
func (c *Client) StartConvertToUEFI(ctx context.Context, req job.ConvertToUEFI, opts ...StartOption) (Started, error) {
	return start(ctx, c, job.OpConvertToUEFI, req, opts)
}

// StartReverseImage starts a reverseImage job.
func (c *Client) StartReverseImage(ctx context.Context, req job.ReverseImage, opts ...StartOption) (Started, error) {
	return start(ctx, c, job.OpReverseImage, req, opts)
}

// StartUpgradePVS starts an upgradePvs job.
func (c *Client) StartUpgradePVS(ctx context.Context, req job.UpgradePVS, opts ...StartOption) (Started, error) {
	return start(ctx, c, job.OpUpgradePVS, req, opts)
}

func start[R any](ctx context.Context, c *Client, op job.Operation, req R, opts []StartOption) (Started, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return Started{}, job.Errorf(job.BadRequest, "Correct the request", "the request cannot be written as JSON: %w", err)
	}
	return c.Start(ctx, op, body, opts...)
}

// parsed is what starting needs to know of a valid body.
type parsed struct {
	request  job.Request
	output   string // name of what the job makes
	warnings []string
}

func parse(op job.Operation, body []byte) (parsed, error) {
	switch op {
	case job.OpConvertToUEFI:
		r, warnings, err := job.Parse[job.ConvertToUEFI](body)
		return parsed{r.Request, r.OutputFile(), warnings}, err
	case job.OpReverseImage:
		r, warnings, err := job.Parse[job.ReverseImage](body)
		return parsed{r.Request, r.OutputDiskName, warnings}, err
	case job.OpUpgradePVS:
		r, warnings, err := job.Parse[job.UpgradePVS](body)
		return parsed{r.Request, r.OutputFile(), warnings}, err
	}
	return parsed{}, job.Errorf(job.UnsupportedOperation, fmt.Sprintf("Use one of %s", join(operations)), "there is no operation %q", op)
}

// summary is the title that Temporal shows for the job.
func (p parsed) summary(op job.Operation) string {
	s := fmt.Sprintf("%s %s -> %s", op, p.request.InputFile(), p.output)
	if len(s) <= maxSummaryBytes {
		return s
	}
	cut := maxSummaryBytes - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// alreadyRunning answers a start that found the job id taken.
func (c *Client) alreadyRunning(ctx context.Context, id string, o startOptions, warnings []string) (Started, error) {
	d, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return Started{}, failure("look up the running job "+id, err)
	}
	info := d.GetWorkflowExecutionInfo()
	if !o.allows(info.GetTaskQueue()) {
		return Started{}, job.Errorf(job.AlreadyRunning, "Wait until it has ended", "the image has a running job of another resource location")
	}
	if o.requestID != "" && requestID(d) == o.requestID {
		return again(d, warnings), nil
	}
	return Started{}, job.Errorf(job.AlreadyRunning, "Wait until it has ended, or cancel it",
		"the image has a running job: %s %s (run %s), started at %s",
		info.GetType().GetName(), id, info.GetExecution().GetRunId(), moment(info.GetStartTime().AsTime()))
}

func again(d *description, warnings []string) Started {
	e := d.GetWorkflowExecutionInfo().GetExecution()
	return Started{JobID: e.GetWorkflowId(), RunID: e.GetRunId(), Again: true, Warnings: warnings}
}

// requestID gives the request id that a job was started with, or "".
func requestID(d *description) string {
	payload, ok := d.GetWorkflowExecutionInfo().GetMemo().GetFields()[memoRequestID]
	if !ok {
		return ""
	}
	var id string
	if converter.GetDefaultDataConverter().FromPayload(payload, &id) != nil {
		return "" // not one of ours
	}
	return id
}

// isServed reports whether a worker has polled the queue of late. What cannot
// be told counts as served: it is for a warning only.
func (c *Client) isServed(ctx context.Context, queue string) bool {
	d, err := c.temporal.DescribeTaskQueue(ctx, queue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	return err != nil || len(d.GetPollers()) > 0
}

func join[T ~string](list []T) string {
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = string(name)
	}
	return strings.Join(names, ", ")
}
