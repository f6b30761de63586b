package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/agent"
	"imageport/engine/enrol"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

// Typed handles of the activities; nil, as only their methods' names are used.
var (
	ctl *activities.Controller
	ce  *agent.Engine
)

// lifecycle is what every operation's job has: a status that the query shows,
// and a Compositing Engine that comes and goes.
type lifecycle struct {
	status job.Status
	key    string // durable.JobKey
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

// begin sets up the status and its query. It does not block: a query may come
// with the first task.
func begin(ctx workflow.Context, op job.Operation) (*lifecycle, error) {
	info := workflow.GetInfo(ctx)
	j := &lifecycle{
		key: durable.JobKey(info.OriginalRunID),
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
	j.status.Warnings = warnings
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
	j.status.Phase = phase
	j.describe(ctx)
	return workflow.UpsertTypedSearchAttributes(ctx, durable.AttrPhase.ValueSet(string(phase)))
}

// describe writes the status for the Web UI, as Markdown: what matters most
// first.
func (j *lifecycle) describe(ctx workflow.Context) {
	s := &j.status
	var b strings.Builder
	switch {
	case s.State == job.StateRunning && s.Error != nil:
		fmt.Fprintf(&b, "%s **has failed**, and cleans up\n", s.Operation)
	case s.State == job.StateRunning:
		fmt.Fprintf(&b, "%s %s: **%s**\n", s.Operation, s.State, s.Phase)
	case s.State == job.StateCanceled:
		fmt.Fprintf(&b, "%s **%s** in phase %s: nothing is left of it\n", s.Operation, s.State, s.Phase)
	default:
		fmt.Fprintf(&b, "%s **%s** in phase %s\n", s.Operation, s.State, s.Phase)
	}
	if e := s.Error; e != nil {
		fmt.Fprintf(&b, "\n**%s**: %s\n", e.Code, e.Message)
		if e.Remedy != "" {
			fmt.Fprintf(&b, "\n**What to do**: %s\n", e.Remedy)
		}
	}
	line := func(what, value string) {
		if value != "" { // two backticks: names may hold one
			fmt.Fprintf(&b, "- %s: `` %s ``\n", what, value)
		}
	}
	b.WriteString("\n")
	line("image", s.Image)
	line("output", s.Output)
	if r := s.Result; r != nil && r.DryRun {
		b.WriteString("- dry run: nothing was changed; the result is the plan\n")
		line("EFI system partition", string(r.ESPPlacement))
		if r.Upgrade != nil {
			line("PVS target software", describeUpgrade(r.Upgrade))
		}
	} else if r != nil {
		if r.SizeBytes > 0 {
			line("size", fmt.Sprintf("%d bytes", r.SizeBytes))
		}
		line("sha256", r.SHA256)
		if r.Upgrade != nil {
			line("PVS target software", describeUpgrade(r.Upgrade))
		}
	}
	if s.CE != "" && s.State == job.StateRunning {
		line("Compositing Engine on "+s.Platform, s.CE)
	}
	if s.State != job.StateCanceled { // they are about an output
		for _, w := range s.Warnings {
			fmt.Fprintf(&b, "- warning: %s\n", w)
		}
	}
	// The Web UI shows a frame that is a little too low: the last line is lost.
	b.WriteString("\n\u00a0\n")
	workflow.SetCurrentDetails(ctx, b.String())
}

// onCE runs work on a Compositing Engine. When the CE is lost, work runs again on
// another one, or on the same one if that has the output disk; so work must pick
// up where it was. The CE of the last try is left for tearDown.
func (j *lifecycle) onCE(ctx workflow.Context, work func(ctx workflow.Context, queue string) error) error {
	for losses, absent := 0, 0; ; {
		before := j.done
		err := j.tryCE(ctx, work)
		lost, isLost := errors.AsType[*ceLost](err)
		if !isLost {
			return err
		}
		j.noteLoss(ctx, lost)
		if losses++; j.done > before {
			losses = 1
		}
		if absent++; lost.came {
			absent = 0
		}
		if losses == maxCEs || absent == maxAbsent {
			return lost.final(losses, j.status.CE)
		}
		warning := fmt.Sprintf("Compositing Engine %s was lost and %s", j.status.CE, map[bool]string{true: "started again", false: "replaced"}[j.holds])
		if lost.cause != "" {
			warning += ": " + lost.cause
		}
		j.warn(warning)
		if err := j.discardCE(ctx); err != nil {
			return err
		}
	}
}

// maxWarnings is how many a status has: a long job may lose many CEs, and the
// status has to fit into an answer.
const maxWarnings = 100

// warn adds a warning to the status.
func (j *lifecycle) warn(text string) {
	if len(j.status.Warnings) < maxWarnings {
		j.status.Warnings = append(j.status.Warnings, text)
	}
}

// discardCE removes the lost CE, or switches it off if it has the output disk.
func (j *lifecycle) discardCE(ctx workflow.Context) error {
	if !j.holds {
		return j.destroyCE(ctx)
	}
	in := activities.StopCEInput{Target: j.target, Name: j.status.CE}
	return workflow.ExecuteActivity(cleaning(ctx, "switch off "+in.Name), ctl.StopCE, in).Get(ctx, nil)
}

// ceLost says that a CE did not come, or does not answer any more.
type ceLost struct {
	came  bool
	cause string // what its platform says, or ""
}

func (e *ceLost) Error() string { return "the Compositing Engine is lost: " + e.cause }

// final is the failure of a job that has lost its last CE.
func (e *ceLost) final(ces int, last string) error {
	var cause, remedy string
	if e.cause != "" {
		cause = ": " + e.cause
		remedy = "Put right what the Compositing Engine or its platform says, then start the job again"
	}
	if e.came {
		return job.Errorf(job.CELost, cmp.Or(remedy, "Look at the platform's events for the CE, then start the job again"), "%d Compositing Engines vanished, the last was %s%s", ces, last, cause)
	}
	return job.Errorf(job.CENeverCame, cmp.Or(remedy, "Check that a CE on this network reaches the gateway of the resource-location worker, and look at its console"), "none of %d Compositing Engines reported, the last was %s%s", ces, last, cause)
}

// tryCE creates one CE, waits until it enrols, and runs work on it. Meanwhile
// the platform is watched: a CE that stops is lost at once.
func (j *lifecycle) tryCE(ctx workflow.Context, work func(ctx workflow.Context, queue string) error) error {
	j.ces++
	j.enrolled, j.rivals, j.logs.closed = durable.Enrolment{}, false, false
	switch {
	case j.ces == 1:
		j.status.CE = seed.Name(j.key)
	case !j.holds: // a name of its own, so that a lost CE that comes back finds no work
		j.status.CE = seed.Name(durable.JobKey(fmt.Sprintf("%s/%d", j.key, j.ces)))
	}
	if err := j.enter(ctx, job.PhaseCreateCE); err != nil {
		return err
	}
	in := activities.CreateCEInput{
		Target: j.target,
		Name:   j.status.CE,
		Job:    j.status.JobID,
		RunID:  workflow.GetInfo(ctx).OriginalRunID,
	}
	var made activities.CE
	if err := workflow.ExecuteActivity(creating(ctx, "create "+in.Name), ctl.CreateCE, in).Get(ctx, &made); err != nil {
		return err
	}
	wctx, done := workflow.WithCancel(ctx)
	defer done()
	watch := workflow.ExecuteActivity(watching(wctx, "watch "+in.Name), ctl.WatchCE, activities.WatchCEInput{Target: in.Target, Name: in.Name})
	cctx, abandon := workflow.WithCancel(ctx)
	var gone *ceLost
	lose := func(cause string) {
		gone = &ceLost{cause: cause}
		abandon()
	}
	workflow.Go(wctx, func(wctx workflow.Context) {
		var seen activities.CEStopped
		if watch.Get(wctx, &seen) == nil {
			lose(seen.Fault)
		}
	})
	workflow.Go(wctx, func(wctx workflow.Context) {
		if workflow.Await(wctx, func() bool { return j.rivals }) == nil {
			lose("its token was used with two keys: somebody who can read its definition on the platform may have got the credential of the share. Change that credential's password")
		}
	})
	if err := j.enter(ctx, job.PhaseEnrol); err != nil {
		return err
	}
	came, err := workflow.AwaitWithTimeout(ctx, made.EnrolWithin, func() bool { return j.enrolled.Key != "" || gone != nil })
	switch {
	case err != nil:
		return err
	case gone != nil:
		return gone
	case !came:
		return &ceLost{}
	case j.enrolled.Protocol != enrol.Protocol:
		return job.Errorf(job.PlatformRefused, "Build the appliance of this release", "Compositing Engine %s speaks protocol %d, this worker %d", j.status.CE, j.enrolled.Protocol, enrol.Protocol)
	}
	err = work(cctx, seed.Queue(j.status.CE))
	if err != nil && j.holds && gone == nil && !temporal.IsCanceledError(err) {
		// What the platform was asked to do may have failed because the CE is
		// gone, and the watch not have seen it yet.
		if _, err := workflow.AwaitWithTimeout(ctx, lossSeenWithin, func() bool { return gone != nil }); err != nil {
			return err
		}
	}
	_, silent := errors.AsType[*temporal.TimeoutError](err)
	switch {
	case gone != nil && (silent || j.holds && err != nil || temporal.IsCanceledError(err)) && ctx.Err() == nil:
		gone.came = true
		return gone
	case durable.NotStarted(err):
		return &ceLost{came: true}
	}
	return err
}

// destroyCE removes the current CE, if there may be one.
func (j *lifecycle) destroyCE(ctx workflow.Context) error {
	if j.ces == 0 {
		return nil
	}
	in := activities.DestroyCEInput{Target: j.target, Name: j.status.CE}
	return workflow.ExecuteActivity(cleaning(ctx, "destroy "+in.Name), ctl.DestroyCE, in).Get(ctx, nil)
}

// tearDown ends a job on a context that a cancellation does not reach:
// the CE is destroyed, then finish keeps or takes back what the job made.
// A cancel counts until finish begins, or the job is decided. A failed clean-up wins over every other
// outcome: it is the one that somebody has to act on.
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

// Register registers the workflows of all operations under the names of the
// specification, the sweep and the batch.
func Register(r interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterDynamicWorkflow(w any, options workflow.DynamicRegisterOptions)
}) {
	r.RegisterWorkflowWithOptions(ConvertToUEFI, workflow.RegisterOptions{Name: string(job.OpConvertToUEFI)})
	r.RegisterWorkflowWithOptions(ReverseImage, workflow.RegisterOptions{Name: string(job.OpReverseImage)})
	r.RegisterWorkflowWithOptions(UpgradePVS, workflow.RegisterOptions{Name: string(job.OpUpgradePVS)})
	r.RegisterWorkflowWithOptions(Sweep, workflow.RegisterOptions{Name: durable.WorkflowSweep})
	r.RegisterWorkflowWithOptions(Batch, workflow.RegisterOptions{Name: durable.WorkflowBatch})
	r.RegisterDynamicWorkflow(unknownOperation, workflow.DynamicRegisterOptions{})
}
