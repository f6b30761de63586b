package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
)

// lifecycle is what every operation's job has: a status that the query shows,
// and a Compositing Engine that comes and goes.
type lifecycle struct {
	status  job.Status
	entered time.Time // into the phase
	key     string    // durable.JobKey
	// stoppedIn is the phase from which tear-down began.
	stoppedIn job.Phase
	ces       int // times that a Compositing Engine was switched on
	// holds says that the current CE may have the job's output disk: when it is
	// lost it is not replaced, but started again.
	holds bool
	// done is how far the job is, in whatever unit it has. Losses of CEs are
	// counted from when it last grew.
	done int64
	// decided says that the job has succeeded, and a cancel comes too late.
	decided bool
	// enrolled is how the current CE came, and has no key until it has.
	enrolled durable.Enrolment
	rivals   bool // another key was shown for it
	access   durable.Access
	target   job.Target
	logs     keptLogs
}

// perform is a job, from its first status to the outcome that Temporal records. What
// do returns, it returns through end.
func perform(ctx workflow.Context, op job.Operation, do func(j *lifecycle) (*job.Result, error)) (*job.Result, error) {
	j, err := begin(ctx, op)
	if err != nil {
		return nil, err
	}
	res, err := do(j)
	return j.end(ctx, res, err)
}

// begin sets up the status and its query. It does not block: a query may come
// with the first task.
func begin(ctx workflow.Context, op job.Operation) (*lifecycle, error) {
	info := workflow.GetInfo(ctx)
	j := &lifecycle{
		entered: workflow.Now(ctx),
		key:     durable.JobKey(info.OriginalRunID),
		status: job.Status{
			JobID:     info.WorkflowExecution.ID,
			RunID:     info.WorkflowExecution.RunID,
			Operation: op,
			State:     job.StateRunning,
			Phase:     job.PhasePreflight,
			Started:   workflow.Now(ctx),
		},
	}
	if err := j.openDoor(ctx); err != nil {
		return nil, err
	}
	if err := j.openLogs(ctx); err != nil {
		return nil, err
	}
	err := workflow.SetQueryHandlerWithOptions(ctx, durable.QueryStatus, func() (job.Status, error) { return j.status, nil },
		workflow.QueryHandlerOptions{Description: "How the job stands: phase, warnings, error, result"})
	return j, err
}

// admit notes what the request is about, and refuses one that was started on
// the queue of another resource location: the worker there may not reach the
// image, and would look like it does.
func (j *lifecycle) admit(ctx workflow.Context, r *job.Request, output, outputID string, warnings []string) error {
	folder, err := r.InputStorageLocation.Folder()
	if err != nil {
		return err
	}
	imageID, err := r.WorkflowID()
	if err != nil {
		return err
	}
	j.status.Platform = r.Platform
	j.status.Image = folder.UNC(r.InputFile())
	j.status.Output = output
	j.warn(warnings...)
	j.target = r.Target
	j.access.Credentials = []string{r.InputStorageLocation.CredentialID}
	j.describe(ctx)
	if queue := workflow.GetInfo(ctx).TaskQueueName; queue != r.ResourceLocationID {
		return job.Errorf(job.WrongResourceLocation, fmt.Sprintf("Start it again with --task-queue %s", r.ResourceLocationID),
			"the request is for resource location %q, but the job was started on task queue %q", r.ResourceLocationID, queue)
	}
	return workflow.UpsertTypedSearchAttributes(ctx,
		durable.AttrOperation.ValueSet(string(j.status.Operation)),
		durable.AttrPlatform.ValueSet(r.Platform),
		durable.AttrImage.ValueSet(durable.Keyword(imageID)),
		durable.AttrOutput.ValueSet(durable.Keyword(outputID)),
		durable.AttrPhase.ValueSet(string(j.status.Phase)))
}

// enter moves to a phase, in the status, the Web UI's details and the search
// attributes.
func (j *lifecycle) enter(ctx workflow.Context, phase job.Phase) error {
	j.status.Phase, j.entered = phase, workflow.Now(ctx)
	j.describe(ctx)
	return workflow.UpsertTypedSearchAttributes(ctx, durable.AttrPhase.ValueSet(string(phase)))
}

// What a status has of warnings: a long job may lose many CEs, a request have any
// number of unknown keys, and the status has to fit into an answer.
const (
	maxWarnings     = 100
	maxWarningBytes = 1000
)

// warn adds warnings to the status.
func (j *lifecycle) warn(texts ...string) {
	for _, text := range texts[:min(len(texts), maxWarnings-len(j.status.Warnings))] {
		if len(text) > maxWarningBytes {
			text = strings.ToValidUTF8(text[:maxWarningBytes], "") + "…"
		}
		j.status.Warnings = append(j.status.Warnings, text)
	}
}

// tearDown ends a job on a context that a cancellation does not reach:
// the CE is destroyed, then finish keeps or takes back what the job made.
// A cancel counts until finish begins, or the job is decided. A failed clean-up wins
// over every other outcome: it is the one that somebody has to act on. It is called
// whatever err is: an attempt to make a CE that failed may have made one.
func (j *lifecycle) tearDown(ctx workflow.Context, err error, finish func(ctx workflow.Context, keep bool) error) error {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if err != nil && ctx.Err() == nil {
		j.status.Error = durable.FromFailure(err) // to be seen while it is cleaned up
	}
	j.keepLog(dctx)
	j.stoppedIn = j.status.Phase
	_ = j.enter(dctx, job.PhaseTearDown)
	destroyErr := j.destroyCE(dctx)
	if !j.decided {
		err = orCanceled(ctx, err)
	}
	finishErr := finish(dctx, err == nil)
	outcome := "the job succeeded, but"
	if err != nil {
		outcome = fmt.Sprintf("the job ended with %q, and", durable.FromFailure(err).Error())
	}
	if finishErr != nil {
		e := durable.FromFailure(finishErr)
		remedy := e.Remedy
		if e.Code != job.CleanupFailed {
			remedy = fmt.Sprintf("Look for files that begin with %s.%s: remove those that end with .partial or .claim; one that ends with .replaced is the output of before, so give it its name back or remove it", j.status.Output, j.key)
		}
		return job.Errorf(job.CleanupFailed, remedy, "%s could not clean up on the share: %s", outcome, e.Message)
	}
	if destroyErr != nil {
		return job.Errorf(job.CleanupFailed, fmt.Sprintf("Remove %s on %s by hand", j.status.CE, j.status.Platform), "%s could not remove its Compositing Engine: %s", outcome, durable.FromFailure(destroyErr).Message)
	}
	return err
}

// orCanceled lets a cancellation win over whatever else went wrong: what an
// activity returns when it is told to stop may look like any failure.
func orCanceled(ctx workflow.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// endIn leaves the phase of a job that did not complete at the one where it
// stopped.
func (j *lifecycle) endIn(ctx workflow.Context) {
	if j.stoppedIn != "" {
		_ = j.enter(ctx, j.stoppedIn)
	}
}

// end gives the workflow's outcome its final form, in the status and as the
// error that Temporal records.
func (j *lifecycle) end(ctx workflow.Context, res *job.Result, err error) (*job.Result, error) {
	switch {
	case err == nil:
		j.status.State, j.status.Result = job.StateCompleted, res
		err = j.enter(ctx, job.PhaseDone)
	case temporal.IsCanceledError(err):
		j.status.State, j.status.Error = job.StateCanceled, nil
		j.endIn(ctx)
	default:
		j.status.State, j.status.Error = job.StateFailed, durable.FromFailure(err)
		err = durable.Failure(j.status.Error)
		j.endIn(ctx)
	}
	j.describe(ctx)
	return res, err
}
