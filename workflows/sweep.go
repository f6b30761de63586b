package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/job"
	"imageport/job/durable"
)

const (
	// maxRemoved is how many CEs one sweep removes; the next one goes on.
	maxRemoved = 100
	// forgetAfter is how long a target is looked at after the last job that
	// used it, unless there are CEs of ours.
	forgetAfter = 30 * 24 * time.Hour
)

// Sweep removes the CEs of a resource location whose jobs run no more: a job
// that was terminated cleans nothing up. What it removes, two looks have found
// without a job. What it cannot look at, or remove, is in the result, and fails
// nothing. The result is where the next sweep goes on.
func Sweep(ctx workflow.Context, req job.SweepRequest) (*job.SweepResult, error) {
	s := &sweep{minAge: job.Period(job.DefaultSweepMinAge), settle: job.Period(job.DefaultSweepSettle)}
	if req.MinAge != nil {
		s.minAge = *req.MinAge
	}
	if req.Settle != nil {
		s.settle = *req.Settle
	}
	s.result = job.SweepResult{DryRun: req.DryRun, Started: workflow.Now(ctx)}
	err := s.run(ctx)
	s.describe(ctx)
	switch err = orCanceled(ctx, err); {
	case temporal.IsCanceledError(err):
		return nil, err
	case err != nil:
		return nil, durable.Failure(durable.FromFailure(err))
	}
	return &s.result, nil
}

// sweep is one sweep: what it was asked for, and what it has found so far.
type sweep struct {
	minAge, settle job.Period
	targets        []job.Target
	result         job.SweepResult
}

func (s *sweep) run(ctx workflow.Context) error {
	if err := s.findTargets(ctx); err != nil {
		return err
	}
	first, err := s.look(ctx, s.targets, "look for Compositing Engines without a job")
	if err != nil {
		return err
	}
	for i, l := range first.Looks {
		t := &s.result.Targets[i]
		t.CEs, t.Others, t.Error = l.CEs, l.Others, l.Error
	}
	var orphans []activities.FoundCE
	for _, ce := range first.CEs {
		switch {
		case !ce.Orphan:
			s.result.Kept = append(s.result.Kept, ce.SweptCE)
		case len(orphans) == maxRemoved:
			s.keep(ce, fmt.Sprintf("a sweep removes %d at most: the next one goes on", maxRemoved))
		default:
			orphans = append(orphans, ce)
		}
	}
	if s.result.DryRun {
		for _, ce := range orphans {
			s.result.Removed = append(s.result.Removed, ce.SweptCE)
		}
	} else if err := s.remove(ctx, orphans); err != nil {
		return err
	}
	s.forget()
	return nil
}

// findTargets gathers where to look, going on from the schedule's last sweep.
func (s *sweep) findTargets(ctx workflow.Context) error {
	var in activities.FindTargetsInput
	if workflow.HasLastCompletionResult(ctx) {
		var last job.SweepResult
		if err := workflow.GetLastCompletionResult(ctx, &last); err != nil {
			workflow.GetLogger(ctx).Warn("the result of the last sweep cannot be read: looking at all jobs", "error", err)
		} else {
			in = activities.FindTargetsInput{Known: last.Targets, Since: last.Started}
		}
	}
	var found activities.Targets
	if err := workflow.ExecuteActivity(sweeping(ctx, "find where jobs ran"), ctl.FindTargets, in).Get(ctx, &found); err != nil {
		return err
	}
	s.result.Targets = found.Targets
	for _, t := range found.Targets {
		s.targets = append(s.targets, t.Target)
	}
	return nil
}

func (s *sweep) look(ctx workflow.Context, at []job.Target, summary string) (activities.Orphans, error) {
	in := activities.FindOrphansInput{Targets: at, Now: workflow.Now(ctx), MinAge: s.minAge}
	var seen activities.Orphans
	err := workflow.ExecuteActivity(sweeping(ctx, summary), ctl.FindOrphans, in).Get(ctx, &seen)
	return seen, err
}

// remove looks again at what was found, after a while, and removes what is
// still there and still without a job. A creation that was cancelled, and a job
// that was reset, may take their time.
func (s *sweep) remove(ctx workflow.Context, orphans []activities.FoundCE) error {
	if len(orphans) == 0 {
		return nil
	}
	s.describeWait(ctx, len(orphans))
	pause := workflow.NewTimerWithOptions(ctx, time.Duration(s.settle), workflow.TimerOptions{Summary: "look again after this"})
	if err := pause.Get(ctx, nil); err != nil {
		return err
	}
	var indexes []int
	for _, ce := range orphans {
		indexes = append(indexes, ce.Targets...)
	}
	slices.Sort(indexes)
	indexes = slices.Compact(indexes)
	again, err := s.look(ctx, s.at(indexes), "look again")
	if err != nil {
		return err
	}
	seen := map[string]activities.FoundCE{}
	for _, ce := range again.CEs {
		seen[ce.Platform+" "+ce.CE] = ce
	}
	for _, ce := range orphans {
		now, there := seen[ce.Platform+" "+ce.CE]
		switch {
		case there && !now.Orphan:
			s.result.Kept = append(s.result.Kept, now.SweptCE)
		case there:
			if err := s.removeOne(ctx, ce); err != nil {
				return err
			}
		default:
			// It went by itself; or its target does not answer any more.
			for i, l := range again.Looks {
				if l.Error != "" && slices.Contains(ce.Targets, indexes[i]) {
					s.keep(ce, "it could not be seen a second time: "+l.Error)
					break
				}
			}
		}
	}
	return nil
}

func (s *sweep) removeOne(ctx workflow.Context, ce activities.FoundCE) error {
	in := activities.RemoveOrphanInput{Targets: s.at(ce.Targets), CE: ce.CE, Now: workflow.Now(ctx), MinAge: s.minAge}
	var removed activities.OrphanRemoved
	err := workflow.ExecuteActivity(sweeping(ctx, "remove "+ce.CE), ctl.RemoveOrphan, in).Get(ctx, &removed)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		ce.Why = durable.FromFailure(err).Error()
		s.result.Failed = append(s.result.Failed, ce.SweptCE)
	case removed.Kept != "":
		s.keep(ce, removed.Kept)
	default:
		s.result.Removed = append(s.result.Removed, ce.SweptCE)
		for _, i := range ce.Targets {
			s.result.Targets[i].CEs = max(s.result.Targets[i].CEs-1, 0)
		}
	}
	s.describe(ctx)
	return nil
}

func (s *sweep) keep(ce activities.FoundCE, why string) {
	ce.Why = why
	s.result.Kept = append(s.result.Kept, ce.SweptCE)
}

// at gives the targets with those indexes.
func (s *sweep) at(indexes []int) []job.Target {
	targets := make([]job.Target, len(indexes))
	for i, n := range indexes {
		targets[i] = s.targets[n]
	}
	return targets
}

// forget drops the targets that no job has used for long. Those that still have
// CEs of ours stay, as nobody else knows of them.
func (s *sweep) forget() {
	s.result.Targets = slices.DeleteFunc(s.result.Targets, func(t job.SweepTarget) bool {
		return !t.LastUsed.IsZero() && t.CEs == 0 && s.result.Started.Sub(t.LastUsed) > forgetAfter
	})
}

func (s *sweep) describeWait(ctx workflow.Context, orphans int) {
	var d details
	d.paragraph("%d Compositing Engines without a job: **looking again in %s**", orphans, s.settle)
	d.show(ctx)
}

// describe writes the outcome for the Web UI, as Markdown.
func (s *sweep) describe(ctx workflow.Context) {
	var d details
	r := &s.result
	verb := "removed"
	if r.DryRun {
		verb = "would be removed"
	}
	d.paragraph("%d %s, %d kept, %d failed", len(r.Removed), verb, len(r.Kept), len(r.Failed))
	list := func(what string, ces []job.SweptCE, limit int) {
		for i, ce := range ces {
			if i == limit {
				d.item("… and %d more %s", len(ces)-limit, what)
				return
			}
			d.item("%s: %s on %s, %s old: %s", what, code(ce.CE), code(ce.Platform), ce.Age, plain(ce.Why))
		}
	}
	list("**failed**", r.Failed, maxListed)
	list(verb, r.Removed, maxListed)
	list("kept", r.Kept, maxListed)
	for _, t := range r.Targets {
		if t.Error != "" {
			d.item("**not looked at**: %s: %s", code(t.Label()), plain(t.Error))
		}
	}
	d.show(ctx)
}

// sweeping is for the steps of a sweep. It gives up soon: the next sweep tries
// again, and does not begin before this one has ended.
func sweeping(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 15 * time.Minute, // a few platforms that do not answer, one after the other
		HeartbeatTimeout:    durable.HeartbeatTimeout,
		WaitForCancellation: true, // it is not over before it has stopped
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumAttempts: 3},
	})
}
