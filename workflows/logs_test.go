package workflows

import (
	"context"
	"errors"
	"strings"

	"github.com/stretchr/testify/mock"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/engine/convert"
	"imageport/job"
	"imageport/job/durable"
)

func (s *jobSuite) logs() job.Logs {
	answer, err := s.env.QueryWorkflow(durable.QueryLogs)
	s.Require().NoError(err)
	var logs job.Logs
	s.Require().NoError(answer.Get(&logs))
	return logs
}

// handOver lets CEs hand over a log, and counts.
func (s *jobSuite) handOver(log job.Log, err error) *int {
	n := 0
	s.env.OnActivity(ce.HandOverLog, mock.Anything).Return(func(context.Context) (job.Log, error) {
		n++
		s.Empty(s.destroyed, "the log was asked for too late")
		return log, err
	})
	return &n
}

// A CE hands its log over before it is destroyed. What it says of the log itself
// does not count, and secrets do not get through.
func (s *jobSuite) TestLogIsKept() {
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	n := s.handOver(job.Log{Source: job.LogPlatform, Name: "liar", OmittedBytes: -5, Text: strings.Repeat("password=hunter2\n", 10_000)}, nil)
	_, err := s.run(body)
	s.Require().NoError(err)
	s.Equal(1, *n)
	logs := s.logs()
	s.Require().Len(logs.Logs, 1)
	log := logs.Logs[0]
	s.Equal(job.LogCE, log.Source)
	s.Equal(s.created[0], log.Name)
	s.False(log.At.IsZero())
	s.LessOrEqual(len(log.Text), job.MaxLogBytes)
	s.Positive(log.OmittedBytes)
	s.NotContains(log.Text, "hunter2")
	s.Equal(s.status().JobID, logs.JobID)
}

// After a failure the log is what tells why. That it cannot be had changes
// nothing.
func (s *jobSuite) TestLogOfAFailure() {
	s.approve()
	s.enrol()
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{}, durable.Failure(job.Errorf(job.ShareFull, "make room", "no space")))
	s.finish(nil)
	n := s.handOver(job.Log{Text: "no space\n"}, nil)
	_, err := s.run(body)
	s.refused(err, job.ShareFull)
	s.Equal(1, *n)
	s.Len(s.logs().Logs, 1)
}

func (s *jobSuite) TestLogThatCannotBeHad() {
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	n := s.handOver(job.Log{}, errors.New("broken"))
	_, err := s.run(body)
	s.Require().NoError(err)
	s.Equal(1, *n) // once is enough
	s.Empty(s.logs().Logs)
	s.Empty(s.status().Warnings[2:])
}

func (s *jobSuite) TestLogOfACanceledJob() {
	s.approve()
	s.enrol()
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(func(context.Context, convert.Task, convert.Approval) (convert.Composed, error) {
		s.env.CancelWorkflow()
		return convert.Composed{}, context.Canceled
	})
	s.finish(nil)
	n := s.handOver(job.Log{Text: "told to stop\n"}, nil)
	_, err := s.run(body)
	s.True(temporal.IsCanceledError(err))
	s.Equal(1, *n)
	s.Len(s.logs().Logs, 1)
}

// A CE that is lost is not asked: what its platform says is kept. One that never
// came has no log either.
func (s *jobSuite) TestLogOfALostCE() {
	s.approve()
	s.stop("no address by DHCP")
	s.finish(nil)
	n := s.handOver(job.Log{}, nil)
	_, err := s.run(body)
	s.refused(err, job.CENeverCame)
	s.Zero(*n)
	logs := s.logs().Logs
	s.Require().Len(logs, maxAbsent)
	for i, log := range logs {
		s.Equal(job.LogPlatform, log.Source)
		s.Equal(s.created[i], log.Name)
		s.Equal("no address by DHCP\n", log.Text)
	}
}

func (s *jobSuite) TestLogsOfALostCEAndItsSuccessor() {
	s.approve()
	s.enrol()
	lost := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil), "progress")
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{}, lost).Once()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	n := 0
	s.env.OnActivity(ce.HandOverLog, mock.Anything).Return(func(context.Context) (job.Log, error) {
		n++
		return job.Log{Text: "fine\n"}, nil
	})
	_, err := s.run(body)
	s.Require().NoError(err)
	s.Equal(1, n)
	s.Require().Len(s.logs().Logs, 1)
	s.Equal(s.created[1], s.logs().Logs[0].Name)
}

// A job of a release that asked for no logs goes on without.
func (s *jobSuite) TestNoLogsOfAnEarlierRelease() {
	s.env.OnGetVersion(changeLogs, workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	n := s.handOver(job.Log{Text: "x\n"}, nil)
	_, err := s.run(body)
	s.Require().NoError(err)
	s.Zero(*n)
	s.Empty(s.logs().Logs)
}

// The logs of the guest are those of the status, without secrets.
func (s *upgradeSuite) TestLogsOfTheGuest() {
	s.outcomes[0].Guest = job.GuestReport{Log: "runner\n", Logs: []job.GuestLog{{Name: "pvs-msi.log", Tail: "PASSWORD=hunter2\n"}}}
	s.env.OnActivity(ce.HandOverLog, mock.Anything).Return(func(context.Context) (job.Log, error) {
		return job.Log{Text: "a log\n"}, s.do("log")
	})
	_, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	answer, err := s.env.QueryWorkflow(durable.QueryLogs)
	s.Require().NoError(err)
	var logs job.Logs
	s.Require().NoError(answer.Get(&logs))
	var got []string
	for _, log := range logs.Logs {
		got = append(got, string(log.Source)+": "+log.Text)
	}
	s.Equal([]string{"ce: a log\n", "ce: a log\n", "guest: runner\n", "guest: PASSWORD=[redacted]\n"}, got)
	s.Contains(strings.Join(s.did, ", "), "log, stop, guest")
	s.Contains(strings.Join(s.did, ", "), "log, destroy")
}
