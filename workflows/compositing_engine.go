package workflows

import (
	"cmp"
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/enrol"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

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
		warning := fmt.Sprintf("Compositing Engine %s was lost and replaced", j.status.CE)
		if j.holds {
			warning = fmt.Sprintf("Compositing Engine %s was lost and started again", j.status.CE)
		}
		if lost.cause != "" {
			warning += ": " + lost.cause
		}
		j.warn(warning)
		if err := j.discardCE(ctx); err != nil {
			return err
		}
	}
}

// tryCE creates one CE, waits until it enrols, and runs work on it. Meanwhile
// the platform is watched: a CE that stops is lost at once.
func (j *lifecycle) tryCE(ctx workflow.Context, work func(ctx workflow.Context, queue string) error) error {
	made, err := j.createCE(ctx)
	if err != nil {
		return err
	}
	wctx, done := workflow.WithCancel(ctx)
	defer done()
	cctx, abandon := workflow.WithCancel(ctx)
	defer abandon()
	var gone *ceLost
	isGone := func() bool { return gone != nil }
	j.watchCE(wctx, func(cause string) {
		gone = &ceLost{cause: cause}
		abandon()
	})
	if err := j.enter(ctx, job.PhaseEnrol); err != nil {
		return err
	}
	came, err := awaitWithin(ctx, made.EnrolWithin, "wait for "+j.status.CE+" to report", func() bool { return j.enrolled.Key != "" || isGone() })
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
		if _, err := awaitWithin(ctx, lossSeenWithin, "see whether "+j.status.CE+" is lost", isGone); err != nil {
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

// createCE names the next CE and has the platform make it, or switch it on again.
func (j *lifecycle) createCE(ctx workflow.Context) (activities.CE, error) {
	j.ces++
	j.enrolled, j.rivals, j.logs.closed = durable.Enrolment{}, false, false
	switch {
	case j.ces == 1:
		j.status.CE = seed.Name(j.key)
	case !j.holds: // a name of its own, so that a lost CE that comes back finds no work
		j.status.CE = seed.Name(durable.JobKey(fmt.Sprintf("%s/%d", j.key, j.ces)))
	}
	if err := j.enter(ctx, job.PhaseCreateCE); err != nil {
		return activities.CE{}, err
	}
	in := activities.CreateCEInput{
		Target: j.target,
		Name:   j.status.CE,
		Job:    j.status.JobID,
		RunID:  workflow.GetInfo(ctx).OriginalRunID,
	}
	var made activities.CE
	err := workflow.ExecuteActivity(creating(ctx, "create "+in.Name), ctl.CreateCE, in).Get(ctx, &made)
	return made, err
}

// watchCE calls lose when the platform says that the current CE has stopped, or a
// second key is shown for it, until ctx ends.
func (j *lifecycle) watchCE(ctx workflow.Context, lose func(cause string)) {
	in := activities.WatchCEInput{Target: j.target, Name: j.status.CE}
	watch := workflow.ExecuteActivity(watching(ctx, "watch "+in.Name), ctl.WatchCE, in)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var seen activities.CEStopped
		if watch.Get(ctx, &seen) == nil {
			lose(seen.Fault)
		}
	})
	workflow.Go(ctx, func(ctx workflow.Context) {
		if workflow.Await(ctx, func() bool { return j.rivals }) == nil {
			lose("its token was used with two keys: somebody who can read its definition on the platform may have got the credential of the share. Change that credential's password")
		}
	})
}

// discardCE removes the lost CE, or switches it off if it has the output disk.
func (j *lifecycle) discardCE(ctx workflow.Context) error {
	if !j.holds {
		return j.destroyCE(ctx)
	}
	in := activities.StopCEInput{Target: j.target, Name: j.status.CE}
	return workflow.ExecuteActivity(cleaning(ctx, "switch off "+in.Name), ctl.StopCE, in).Get(ctx, nil)
}

// destroyCE removes the current CE, if there may be one.
func (j *lifecycle) destroyCE(ctx workflow.Context) error {
	if j.ces == 0 {
		return nil
	}
	in := activities.DestroyCEInput{Target: j.target, Name: j.status.CE}
	return workflow.ExecuteActivity(cleaning(ctx, "destroy "+in.Name), ctl.DestroyCE, in).Get(ctx, nil)
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
