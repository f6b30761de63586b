package workflows

import (
	"context"
	"strings"
	"time"

	"github.com/stretchr/testify/mock"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"imageport/activities"
	"imageport/engine/convert"
	"imageport/engine/enrol"
	"imageport/job"
	"imageport/job/durable"
)

func (s *jobSuite) TestNoCEEverComes() {
	s.approve()
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.CENeverCame)
	s.Len(s.created, maxAbsent)
	s.ElementsMatch(s.created, s.destroyed)
	s.Len(unique(s.created), maxAbsent)
}

// A CE that stops before it reports is not waited for, and its last words are
// the job's.
func (s *jobSuite) TestCEStopsBeforeItReports() {
	s.approve()
	s.stop("no address by DHCP")
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.CENeverCame)
	s.Contains(err.Error(), "no address by DHCP")
	s.Len(unique(s.created), maxAbsent)
	s.Equal(s.created, s.destroyed)
}

func (s *jobSuite) TestCEStopsWhileItComposes() {
	s.approve()
	s.enrol()
	composing := make(chan struct{})
	s.env.OnActivity(ctl.WatchCE, mock.Anything, mock.Anything).Return(func(context.Context, activities.WatchCEInput) (activities.CEStopped, error) {
		<-composing
		return activities.CEStopped{Fault: "kernel panic"}, nil
	}).Once()
	s.env.OnActivity(ctl.WatchCE, mock.Anything, mock.Anything).Return(activities.CEStopped{}, durable.Failure(job.Errorf(job.UnknownPlatform, "", "nothing to see")))
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(func(context.Context, convert.Task, convert.Approval) (convert.Composed, error) {
		close(composing)
		time.Sleep(200 * time.Millisecond) // the server waits for a heartbeat
		return convert.Composed{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil)
	}).Once()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	res, err := s.run(body)
	s.Require().NoError(err)
	s.Equal(2, res.CompositingEngines)
	s.Contains(res.Warnings[len(res.Warnings)-1], "was lost and replaced: kernel panic")
}

func (s *jobSuite) TestLostCEIsReplacedAndComposesAgain() {
	s.approve()
	s.enrol()
	lost := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil), "progress")
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{}, lost).Once()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	res, err := s.run(body)
	s.Require().NoError(err)
	s.Equal(2, res.CompositingEngines)
	s.Contains(res.Warnings[len(res.Warnings)-1], "was lost and replaced")
	s.Equal(s.created, s.destroyed)
	s.Len(unique(s.created), 2)
}

func (s *jobSuite) TestCELostInPublishIsNotComposedAgain() {
	s.approve()
	s.enrol()
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{Pieces: []convert.Piece{{Name: "out.avhdx", Partial: "p"}}}, nil).Once()
	lost := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil, "progress")
	s.env.OnActivity(ce.Publish, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(lost).Once()
	s.publish(nil)
	s.finish(nil)
	_, err := s.run(body)
	s.NoError(err)
}

func (s *jobSuite) TestOldAgentIsRefused() {
	s.approve()
	s.enrols = func(name string) *durable.Enrolment {
		return &durable.Enrolment{CE: name, Key: strings.Repeat("a", 64), Protocol: enrol.Protocol + 1}
	}
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.PlatformRefused)
}

// A Compositing Engine that cannot be destroyed does not cost the output.
func (s *jobSuite) TestFailedDestroyKeepsTheOutput() {
	s.destroyFails = durable.Failure(job.Errorf(job.PlatformRefused, "", "no permission"))
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.CleanupFailed)
	s.Contains(err.Error(), "the job succeeded, but could not remove its Compositing Engine")
	s.True(s.finished[0].Keep)
}

// Three that came, and were gone before they could work, are not three that
// never came.
func (s *jobSuite) TestAllCEsLost() {
	s.approve()
	s.enrol()
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil))
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.CELost)
}

func unique(names []string) map[string]bool {
	m := make(map[string]bool)
	for _, n := range names {
		m[n] = true
	}
	return m
}
