package starter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"imageport/job/durable"
)

// The memos in which a run keeps which request made it: the id that came with
// it, and a digest of what it asks for.
const (
	memoRequestID     = "requestId"
	memoRequestDigest = "requestDigest"
)

// maxSummaryBytes is Temporal's limit for a workflow's summary.
const maxSummaryBytes = 400

// Started is a job or a batch that was started.
type Started struct {
	JobID string `json:"jobId"`
	RunID string `json:"runId"`
	// Again is set if an earlier start with the same request id made the job.
	Again    bool     `json:"again,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// StartOption changes how a job or a batch is started.
type StartOption func(*startOptions)

type startOptions struct{ requestID string }

// RequestID makes a start idempotent: while the image's latest job, or the
// latest batch of the name, is the one that a request of that id started,
// starting again gives that one, whether it still runs or not. With another
// body than that of the first request it is a job.BadRequest.
func RequestID(id string) StartOption { return func(o *startOptions) { o.requestID = id } }

// Start starts an operation. The body is the specification's JSON. The error
// is a *job.Error with job.BadRequest for a body that is not valid, with what
// is wrong with it, and job.AlreadyRunning if the image has a running job.
func (c *Client) Start(ctx context.Context, op job.Operation, body json.RawMessage, opts ...StartOption) (Started, error) {
	p, err := parse(op, body)
	if err != nil {
		return Started{}, err
	}
	id, err := p.request.WorkflowID()
	if err != nil {
		return Started{}, err
	}
	return c.begin(ctx, beginning{
		id: id, resourceLocation: p.request.ResourceLocationID, workflowType: string(op), body: body,
		what: "job", title: p.summary(op), warnings: p.warnings,
	}, opts)
}

// beginning is a job or a batch to be started.
type beginning struct {
	id, resourceLocation string
	workflowType         string
	body                 json.RawMessage
	what                 string // "job" or "batch"
	title                string
	warnings             []string // about the body
}

// begin starts what there is one of at a time under its id.
func (c *Client) begin(ctx context.Context, b beginning, opts []StartOption) (Started, error) {
	var o startOptions
	for _, opt := range opts {
		opt(&o)
	}
	if !c.allows(b.resourceLocation) {
		return Started{}, job.Errorf(job.Forbidden, "Name a resource location that you may use, or ask for the right to use this one", "you may not start a %s in the resource location %q", b.what, b.resourceLocation)
	}
	options := client.StartWorkflowOptions{
		ID:                       b.id,
		TaskQueue:                b.resourceLocation,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// Without this the SDK passes off the running one as the one asked for.
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            b.title,
	}
	if o.requestID != "" {
		earlier, err := c.temporal.DescribeWorkflowExecution(ctx, b.id, "")
		if err != nil && !isNotFound(err) {
			return Started{}, failure("look for an earlier start of "+b.id, err)
		}
		if c.allows(earlier.GetWorkflowExecutionInfo().GetTaskQueue()) && isOf(earlier, o.requestID) {
			return b.again(earlier)
		}
		options.Memo = map[string]any{memoRequestID: o.requestID, memoRequestDigest: b.digest()}
	}
	run, err := c.temporal.ExecuteWorkflow(ctx, options, b.workflowType, b.body)
	if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); running {
		return c.alreadyRunning(ctx, b, o)
	}
	if err != nil {
		return Started{}, failure("start "+b.id, err)
	}
	c.runs.add(run.GetRunID(), run.GetID())
	started := Started{JobID: run.GetID(), RunID: run.GetRunID(), Warnings: b.warnings}
	if !c.isServed(ctx, b.resourceLocation) {
		started.Warnings = append(started.Warnings, fmt.Sprintf("no worker serves resource location %q at the moment: the %s waits for one", b.resourceLocation, b.what))
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

// alreadyRunning answers a start that found the id taken.
func (c *Client) alreadyRunning(ctx context.Context, b beginning, o startOptions) (Started, error) {
	d, err := c.temporal.DescribeWorkflowExecution(ctx, b.id, "")
	if err != nil {
		return Started{}, failure(fmt.Sprintf("look up the running %s %s", b.what, b.id), err)
	}
	info := d.GetWorkflowExecutionInfo()
	if !c.allows(info.GetTaskQueue()) {
		return Started{}, job.Errorf(job.AlreadyRunning, "Wait until it has ended", "the image has a running job of another resource location")
	}
	if o.requestID != "" && isOf(d, o.requestID) {
		return b.again(d)
	}
	run, since := info.GetExecution().GetRunId(), moment(info.GetStartTime().AsTime())
	if b.workflowType == durable.WorkflowBatch {
		return Started{}, job.Errorf(job.AlreadyRunning, "Wait until it has ended, cancel it, or give this one another name", "a batch of that name runs: %s (run %s), started at %s", b.id, run, since)
	}
	return Started{}, job.Errorf(job.AlreadyRunning, "Wait until it has ended, or cancel it", "the image has a running job: %s %s (run %s), started at %s", info.GetType().GetName(), b.id, run, since)
}

// isOf reports whether a request of that id has started the run.
func isOf(d *description, requestID string) bool { return memo(d, memoRequestID) == requestID }

// again gives the run that an earlier request of the same id has started.
func (b beginning) again(d *description) (Started, error) {
	info := d.GetWorkflowExecutionInfo()
	digest := memo(d, memoRequestDigest)
	if info.GetType().GetName() != b.workflowType || digest != "" && digest != b.digest() {
		return Started{}, job.Errorf(job.BadRequest, "Give every request an id of its own; only the same request may be sent again under the same id",
			"the request id was used for another request, which has started %s (run %s)", b.id, info.GetExecution().GetRunId())
	}
	return Started{JobID: b.id, RunID: info.GetExecution().GetRunId(), Again: true, Warnings: b.warnings}, nil
}

// digest tells one body from another, whatever the order of its keys.
func (b beginning) digest() string {
	body := []byte(b.body)
	var v any
	if json.Unmarshal(body, &v) == nil {
		if sorted, err := json.Marshal(v); err == nil {
			body = sorted
		}
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// memo gives a text that a run was started with, or "".
func memo(d *description, name string) string {
	payload, ok := d.GetWorkflowExecutionInfo().GetMemo().GetFields()[name]
	if !ok {
		return ""
	}
	var text string
	if converter.GetDefaultDataConverter().FromPayload(payload, &text) != nil {
		return "" // not one of ours
	}
	return text
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
