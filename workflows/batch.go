package workflows

import (
	"encoding/json"
	"errors"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
)

const (
	// batchStarts is how many jobs one run of a batch starts, or finds that it
	// cannot start yet: then a new run goes on, with a short history.
	batchStarts = 100
	// takenFirst and takenMost are how long it takes until an image that has another
	// job is tried again.
	takenFirst, takenMost = 15 * time.Second, 5 * time.Minute
)

// Batch runs one operation on many images: each as a job of its own, under the
// id that it would have if it was started alone, so many of them at a time as the
// request allows. Its input is a job.BatchRequest, taken raw as ConvertToUEFI
// does; earlier is where the run before has come to.
//
// It completes when every image was seen to: which jobs have failed is in the
// report. Canceled, it has its jobs clean up, and gives the report with the
// cancellation.
func Batch(ctx workflow.Context, body converter.RawValue, earlier *job.BatchReport) (*job.BatchReport, error) {
	b, err := beginBatch(ctx, earlier)
	if err != nil {
		return nil, err
	}
	data := body.Payload().GetData()
	err = b.admit(ctx, data, earlier)
	if err == nil {
		err = b.run(ctx)
	}
	if err == nil && b.left() {
		return nil, workflow.NewContinueAsNewError(ctx, durable.WorkflowBatch, json.RawMessage(data), &b.report)
	}
	if err != nil {
		err = orCanceled(ctx, err)
	}
	return b.end(ctx, err)
}

// batch is one batch: what it is to do, and how far it has come.
type batch struct {
	req    job.BatchRequest
	jobs   []job.BatchJob // of report.Items
	report job.BatchReport

	running map[string]int // jobs by share and by host
	active  int            // jobs in all
	moves   int            // grows when a job has ended
	starts  int
}

func beginBatch(ctx workflow.Context, earlier *job.BatchReport) (*batch, error) {
	info := workflow.GetInfo(ctx)
	b := &batch{running: map[string]int{}}
	if earlier != nil {
		b.report = *earlier
	} else {
		b.report.Started = workflow.Now(ctx)
	}
	b.report.BatchID, b.report.RunID, b.report.State = info.WorkflowExecution.ID, info.WorkflowExecution.RunID, job.StateRunning
	err := workflow.SetQueryHandlerWithOptions(ctx, durable.QueryBatch, func() (job.BatchReport, error) {
		r := b.report.Clone()
		r.Count()
		return r, nil
	}, workflow.QueryHandlerOptions{Description: "How the batch stands: counts, and the outcome of every image"})
	return b, err
}

// run starts jobs and waits for them, until there are no more, this run has
// started its share, or the batch is canceled.
func (b *batch) run(ctx workflow.Context) error {
	for {
		if ctx.Err() == nil {
			b.startAll(ctx)
		}
		b.describe(ctx)
		if b.active == 0 && (!b.left() || b.isFull(ctx) && ctx.Err() == nil) {
			return nil
		}
		before := b.moves
		moved := func() bool { return b.moves != before }
		var err error
		if wait := b.nextTry(ctx); wait > 0 {
			_, err = awaitWithin(ctx, wait, "try images again that have another job", moved)
		} else {
			err = workflow.Await(ctx, moved)
		}
		if err != nil { // canceled, and so are the jobs: they are waited for
			dctx, cancel := workflow.NewDisconnectedContext(ctx)
			defer cancel()
			b.describe(ctx)
			_ = workflow.Await(dctx, func() bool { return b.active == 0 }) // it cannot be canceled
			return err
		}
	}
}

// isFull says that this run has started its share of jobs.
func (b *batch) isFull(ctx workflow.Context) bool {
	return b.starts >= batchStarts || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// left reports whether there is anything left to be started.
func (b *batch) left() bool {
	if b.report.Stopped {
		return false
	}
	for _, item := range b.report.Items {
		if item.State == job.ItemPending || item.State == job.ItemWaiting {
			return true
		}
	}
	return false
}

// startAll starts the jobs that may run now, in their order. One that has no
// room lets others pass.
func (b *batch) startAll(ctx workflow.Context) {
	now := workflow.Now(ctx)
	for i := range b.report.Items {
		if b.report.Stopped || b.active >= b.req.Concurrency.Total || b.isFull(ctx) {
			return
		}
		item, j := &b.report.Items[i], &b.jobs[i]
		if item.State != job.ItemPending && (item.State != job.ItemWaiting || item.NextTry.After(now)) {
			continue
		}
		if b.running[shareKey(j)] >= b.req.Concurrency.PerShare || b.running[hostKey(j)] >= b.req.Concurrency.PerHost {
			continue
		}
		b.count(j, 1)
		b.starts++
		item.State, item.NextTry, item.Note = job.ItemRunning, nil, ""
		workflow.Go(ctx, func(ctx workflow.Context) {
			b.perform(ctx, i)
			b.count(j, -1)
			b.moves++
		})
	}
}

// A host may be called like a share of another.
func shareKey(j *job.BatchJob) string { return "share " + j.Share }
func hostKey(j *job.BatchJob) string  { return "host " + j.Host }

func (b *batch) count(j *job.BatchJob, n int) {
	b.active += n
	b.running[shareKey(j)] += n
	b.running[hostKey(j)] += n
}

// nextTry is how long it takes until an image is to be tried again, 0 if there is
// none that waits for it.
func (b *batch) nextTry(ctx workflow.Context) time.Duration {
	if b.isFull(ctx) || b.report.Stopped {
		return 0
	}
	now := workflow.Now(ctx)
	var soonest time.Duration
	for _, item := range b.report.Items {
		if item.State != job.ItemWaiting || !item.NextTry.After(now) {
			continue
		}
		if wait := item.NextTry.Sub(now); soonest == 0 || wait < soonest {
			soonest = wait
		}
	}
	return soonest
}

// perform runs one job, to its end.
func (b *batch) perform(ctx workflow.Context, i int) {
	item, j := &b.report.Items[i], &b.jobs[i]
	cctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            j.JobID,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// A batch that is terminated must not leave jobs that were cut off.
		ParentClosePolicy:   enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation: true,
		StaticSummary:       j.Summary(b.req.Operation),
	})
	started := workflow.Now(ctx)
	child := workflow.ExecuteChildWorkflow(cctx, string(b.req.Operation), j.Body)
	var run workflow.Execution
	var res *job.Result
	err := child.GetChildWorkflowExecution().Get(ctx, &run)
	if err == nil {
		item.Started, item.RunID = &started, run.RunID
		b.describe(ctx)
		err = child.Get(ctx, &res)
	}
	if _, taken := errors.AsType[*temporal.ChildWorkflowExecutionAlreadyStartedError](err); taken {
		b.wait(ctx, item)
		return
	}
	ended := workflow.Now(ctx)
	item.Ended = &ended
	b.settle(ctx, i, res, err)
	if (item.State == job.ItemFailed || item.State == job.ItemTerminated) && !b.req.ContinuesOnError() {
		b.report.Stopped = true
	}
}

// wait has an image tried again later that has a job of somebody else.
func (b *batch) wait(ctx workflow.Context, item *job.BatchItem) {
	pause := min(takenFirst<<min(item.Tries, 10), takenMost)
	next := workflow.Now(ctx).Add(pause)
	item.Tries++
	item.State, item.NextTry, item.Note = job.ItemWaiting, &next, "the image has another job"
}

// settle notes how a job has ended.
func (b *batch) settle(ctx workflow.Context, i int, res *job.Result, err error) {
	item := &b.report.Items[i]
	switch {
	case err == nil && res != nil && res.Upgrade != nil && res.Upgrade.Skipped:
		item.There("its image has that version already")
	case err == nil && res != nil:
		item.Complete(res)
	case err == nil:
		item.Fail(job.ItemFailed, job.Errorf(job.Internal, "Look at the job", "the job has no result"))
	case temporal.IsCanceledError(err):
		item.State = job.ItemCanceled
	default:
		if _, terminated := errors.AsType[*temporal.TerminatedError](err); terminated {
			item.Fail(job.ItemTerminated, job.Errorf(job.JobTerminated, "Its Compositing Engine goes with the next sweep. Remove its partial files beside the output by hand", "the job was terminated, without clean-up"))
			return
		}
		e := durable.FromFailure(err)
		if why := b.wasThere(ctx, i, e); why != "" {
			item.There(why)
			return
		}
		item.Fail(job.ItemFailed, e)
	}
}

// wasThere says why a job that was refused had nothing to do, or "".
func (b *batch) wasThere(ctx workflow.Context, i int, e *job.Error) string {
	switch {
	case !b.req.SkipsPresent():
	case e.Code == job.AlreadyGPT && b.jobs[i].NextVersion:
		return "its latest version has a GPT"
	case e.Code == job.OutputExists: // since the batch has looked
		if there, err := b.present(ctx, []int{i}); err == nil && len(there) == 1 {
			return "its output is there"
		}
	}
	return ""
}

// end gives the batch's outcome its final form, in the report and as what Temporal
// records.
func (b *batch) end(ctx workflow.Context, err error) (*job.BatchReport, error) {
	for i := range b.report.Items {
		item := &b.report.Items[i]
		if item.State == job.ItemPending || item.State == job.ItemWaiting {
			item.State, item.NextTry = job.ItemLeft, nil
		}
	}
	now := workflow.Now(ctx)
	b.report.Ended = &now
	b.report.Count()
	switch {
	case err == nil:
		b.report.State = job.StateCompleted
	case temporal.IsCanceledError(err):
		b.report.State = job.StateCanceled
		err = temporal.NewCanceledError(b.report)
	default:
		b.report.State, b.report.Error = job.StateFailed, durable.FromFailure(err)
		err = durable.Failure(b.report.Error)
	}
	b.describe(ctx)
	return &b.report, err
}
