package workflows

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"imageport/activities"
	"imageport/job"
	"imageport/job/durable"
)

// sweepSuite runs Sweep with every activity replaced, to see what the workflow
// itself decides.
type sweepSuite struct {
	suite.Suite
	testsuite.WorkflowTestSuite
	env *testsuite.TestWorkflowEnvironment

	targets []job.SweepTarget
	looks   []activities.Orphans // the last one is seen again and again
	looked  []activities.FindOrphansInput
	removes func(in activities.RemoveOrphanInput) (activities.OrphanRemoved, error)
	removed []activities.RemoveOrphanInput
}

func TestSweep(t *testing.T) { suite.Run(t, new(sweepSuite)) }

func (s *sweepSuite) SetupTest() {
	s.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	s.env = s.NewTestWorkflowEnvironment()
	s.env.SetStartWorkflowOptions(client.StartWorkflowOptions{TaskQueue: "lab"})
	s.env.RegisterActivity(new(activities.Controller))
	s.looked, s.removed = nil, nil
	s.targets = []job.SweepTarget{target("local", time.Time{})}
	s.removes = func(activities.RemoveOrphanInput) (activities.OrphanRemoved, error) {
		return activities.OrphanRemoved{}, nil
	}
	s.env.OnActivity(ctl.FindOrphans, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.FindOrphansInput) (activities.Orphans, error) {
		s.looked = append(s.looked, in)
		return s.looks[min(len(s.looked), len(s.looks))-1], nil
	}).Maybe()
	s.env.OnActivity(ctl.RemoveOrphan, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.RemoveOrphanInput) (activities.OrphanRemoved, error) {
		s.removed = append(s.removed, in)
		return s.removes(in)
	}).Maybe()
}

func target(platform string, used time.Time) job.SweepTarget {
	t := job.SweepTarget{LastUsed: used}
	t.Platform = platform
	return t
}

// found is a CE on the targets with those indexes, and an orphan unless why says
// that it is needed.
func found(name, why string, targets ...int) activities.FoundCE {
	if targets == nil {
		targets = []int{0}
	}
	return activities.FoundCE{SweptCE: job.SweptCE{Platform: "local", CE: name, Job: "job-of-" + name, Age: job.Period(time.Hour), Why: why}, Targets: targets, Orphan: !strings.HasPrefix(why, "needed")}
}

func looks(n int, ces ...activities.FoundCE) activities.Orphans {
	o := activities.Orphans{Looks: make([]activities.Look, n), CEs: ces}
	for _, ce := range ces {
		for _, i := range ce.Targets {
			o.Looks[i].CEs++
		}
	}
	return o
}

// run sweeps. FindTargets gives s.targets, unless it was replaced.
func (s *sweepSuite) run(req job.SweepRequest) job.SweepResult {
	s.env.OnActivity(ctl.FindTargets, mock.Anything, mock.Anything).Return(func(context.Context, activities.FindTargetsInput) (activities.Targets, error) {
		return activities.Targets{Targets: s.targets}, nil
	}).Maybe()
	s.env.ExecuteWorkflow(Sweep, req)
	s.Require().True(s.env.IsWorkflowCompleted())
	s.Require().NoError(s.env.GetWorkflowError())
	var res job.SweepResult
	s.Require().NoError(s.env.GetWorkflowResult(&res))
	return res
}

func names(ces []job.SweptCE) []string {
	var list []string
	for _, ce := range ces {
		list = append(list, ce.CE)
	}
	return list
}

func (s *sweepSuite) TestNothingThere() {
	s.looks = []activities.Orphans{looks(1)}
	res := s.run(job.SweepRequest{})
	s.Empty(res.Removed)
	s.Empty(res.Kept)
	s.Len(s.looked, 1, "there is nothing to look at twice")
	s.Equal(job.Period(job.DefaultSweepMinAge), s.looked[0].MinAge)
}

// What two looks have found goes; what is needed, or younger, stays.
func (s *sweepSuite) TestSeenTwiceIsRemoved() {
	s.looks = []activities.Orphans{looks(1, found("ce-a", "terminated"), found("ce-b", "needed: its job runs"), found("ce-c", "needed: younger"))}
	res := s.run(job.SweepRequest{})
	s.Equal([]string{"ce-a"}, names(res.Removed))
	s.Equal([]string{"ce-b", "ce-c"}, names(res.Kept))
	s.Equal("terminated", res.Removed[0].Why)
	s.Require().Len(s.looked, 2)
	s.GreaterOrEqual(s.looked[1].Now.Sub(s.looked[0].Now), job.DefaultSweepSettle)
	s.Require().Len(s.removed, 1)
	s.Equal("ce-a", s.removed[0].CE)
	s.Equal(2, res.Targets[0].CEs)
}

func (s *sweepSuite) TestSeenOnceStays() {
	s.looks = []activities.Orphans{
		looks(1, found("ce-gone", "terminated"), found("ce-back", "terminated")),
		looks(1, found("ce-back", "needed: its job runs"), found("ce-new", "terminated")),
	}
	res := s.run(job.SweepRequest{})
	s.Empty(s.removed)
	s.Empty(res.Removed)
	s.Equal([]string{"ce-back"}, names(res.Kept))
	s.Equal("needed: its job runs", res.Kept[0].Why)
}

// The CE of before of a job that runs is an orphan like another.
func (s *sweepSuite) TestLostCEOfARunningJob() {
	s.looks = []activities.Orphans{looks(1, found("ce-lost", "its job runs on ce-now"), found("ce-now", "needed: its job runs"))}
	res := s.run(job.SweepRequest{})
	s.Equal([]string{"ce-lost"}, names(res.Removed))
	s.Equal([]string{"ce-now"}, names(res.Kept))
}

// The last look, at the moment of removal, counts.
func (s *sweepSuite) TestKeptAtTheLastMoment() {
	s.looks = []activities.Orphans{looks(1, found("ce-a", "terminated"))}
	s.removes = func(activities.RemoveOrphanInput) (activities.OrphanRemoved, error) {
		return activities.OrphanRemoved{Kept: "its job runs"}, nil
	}
	res := s.run(job.SweepRequest{})
	s.Empty(res.Removed)
	s.Equal("its job runs", res.Kept[0].Why)
}

func (s *sweepSuite) TestDryRun() {
	s.looks = []activities.Orphans{looks(1, found("ce-a", "terminated"), found("ce-b", "needed"))}
	res := s.run(job.SweepRequest{DryRun: true, MinAge: new(job.Period(time.Minute))})
	s.True(res.DryRun)
	s.Equal([]string{"ce-a"}, names(res.Removed))
	s.Equal([]string{"ce-b"}, names(res.Kept))
	s.Len(s.looked, 1)
	s.Empty(s.removed)
	s.Equal(job.Period(time.Minute), s.looked[0].MinAge)
}

// A target that does not answer is said, and keeps nobody else's CEs.
func (s *sweepSuite) TestFailingTarget() {
	s.targets = []job.SweepTarget{target("local", time.Time{}), target("vSphere", time.Now())}
	first := looks(2, found("ce-a", "terminated", 0), found("ce-v", "terminated", 1))
	second := looks(2, found("ce-a", "terminated", 0))
	second.Looks[1] = activities.Look{Error: "no route to host"}
	s.looks = []activities.Orphans{first, second}
	res := s.run(job.SweepRequest{})
	s.Equal([]string{"ce-a"}, names(res.Removed))
	s.Equal([]string{"ce-v"}, names(res.Kept))
	s.Equal("it could not be seen a second time: no route to host", res.Kept[0].Why)

	s.SetupTest()
	s.targets = []job.SweepTarget{target("local", time.Time{}), target("vSphere", time.Now())}
	first = looks(2, found("ce-a", "terminated", 0))
	first.Looks[1].Error = "no route to host"
	s.looks = []activities.Orphans{first, looks(1, found("ce-a", "terminated", 0))}
	res = s.run(job.SweepRequest{})
	s.Equal([]string{"ce-a"}, names(res.Removed))
	s.Require().Len(res.Targets, 2)
	s.Equal("no route to host", res.Targets[1].Error)
	s.Equal([]job.Target{s.targets[0].Target}, s.looked[1].Targets, "only where there is something is looked again")
}

// A CE that cannot be removed does not keep the others.
func (s *sweepSuite) TestFailingDestroy() {
	s.looks = []activities.Orphans{looks(1, found("ce-a", "terminated"), found("ce-b", "terminated"), found("ce-c", "terminated"))}
	tries := 0
	s.removes = func(in activities.RemoveOrphanInput) (activities.OrphanRemoved, error) {
		switch in.CE {
		case "ce-a":
			return activities.OrphanRemoved{}, durable.Failure(job.Errorf(job.PlatformRefused, "Check the rights", "no permission"))
		case "ce-b":
			if tries++; tries < 3 {
				return activities.OrphanRemoved{}, durable.Failure(job.Errorf(job.PlatformError, "", "busy"))
			}
		}
		return activities.OrphanRemoved{}, nil
	}
	res := s.run(job.SweepRequest{})
	s.Equal([]string{"ce-b", "ce-c"}, names(res.Removed))
	s.Equal([]string{"ce-a"}, names(res.Failed))
	s.Equal("no permission. Check the rights", res.Failed[0].Why)
	s.Equal(1, res.Targets[0].CEs)
}

// A sweep goes on where the schedule's last one was, and forgets what no job
// has used for long; but not where CEs of ours are.
func (s *sweepSuite) TestTargetsCarryOver() {
	last := job.SweepResult{Started: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Targets: []job.SweepTarget{target("vSphere", time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC))}}
	s.env.SetLastCompletionResult(last)
	s.env.SetStartTime(time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC))
	s.env.OnActivity(ctl.FindTargets, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.FindTargetsInput) (activities.Targets, error) {
		s.Equal(last.Started, in.Since)
		s.Equal(last.Targets, in.Known)
		old := in.Known[0].LastUsed
		return activities.Targets{Targets: []job.SweepTarget{target("local", time.Time{}), target("forgotten", old), target("used", last.Started.Add(time.Hour)), target("inhabited", old)}}, nil
	})
	seen := looks(4, found("ce-a", "needed", 3))
	seen.Looks[1].Error, seen.Looks[2].Error = "gone", "gone"
	s.looks = []activities.Orphans{seen}
	res := s.run(job.SweepRequest{})
	var kept []string
	for _, t := range res.Targets {
		kept = append(kept, t.Platform)
	}
	s.Equal([]string{"local", "used", "inhabited"}, kept)
}

func (s *sweepSuite) TestSharedTargetsAndManyOrphans() {
	s.targets = []job.SweepTarget{target("a", time.Time{}), target("b", time.Time{}), target("c", time.Time{})}
	var ces []activities.FoundCE
	for i := range maxRemoved + 1 {
		ces = append(ces, found(fmt.Sprintf("ce-%d", i), "terminated", 0, 2))
	}
	second := looks(2)
	for _, ce := range ces {
		ce.Targets = []int{0, 1}
		second.CEs = append(second.CEs, ce)
	}
	s.looks = []activities.Orphans{looks(3, ces...), second}
	res := s.run(job.SweepRequest{})
	s.Len(res.Removed, maxRemoved)
	s.Equal([]string{fmt.Sprintf("ce-%d", maxRemoved)}, names(res.Kept))
	for _, in := range s.removed {
		s.Equal([]job.Target{s.targets[0].Target, s.targets[2].Target}, in.Targets)
	}
}

func (s *sweepSuite) TestCancelWhileItWaits() {
	s.looks = []activities.Orphans{looks(1, found("ce-a", "terminated"))}
	s.env.OnActivity(ctl.FindTargets, mock.Anything, mock.Anything).Return(activities.Targets{Targets: s.targets}, nil)
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, time.Minute)
	s.env.ExecuteWorkflow(Sweep, job.SweepRequest{})
	s.True(temporal.IsCanceledError(s.env.GetWorkflowError()))
	s.Empty(s.removed)
}

func (s *sweepSuite) TestTemporalDoesNotList() {
	s.env.OnActivity(ctl.FindTargets, mock.Anything, mock.Anything).Return(activities.Targets{}, durable.Failure(job.Errorf(job.Internal, "", "no visibility")))
	s.env.ExecuteWorkflow(Sweep, job.SweepRequest{})
	err := s.env.GetWorkflowError()
	s.Require().Error(err)
	s.Equal(job.Internal, durable.FromFailure(err).Code)
	s.Empty(s.looked)
}
