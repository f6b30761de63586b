package workflows

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"imageport/activities"
	"imageport/engine/convert"
	"imageport/engine/enrol"
	"imageport/job"
	"imageport/job/durable"
)

const body = `{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"h","sharePath":"disks"},"inputImageFilename":"win10","outputImageFilename":"out","colour":1}`

// jobSuite runs ConvertToUEFI with every activity replaced, to see what the
// workflow itself decides.
type jobSuite struct {
	operationSuite

	created, destroyed []string
	enrols             func(name string) *durable.Enrolment // how a CE comes that was created
	finished           []activities.FinishInput
	onDestroy          func()
	destroyFails       error
}

func TestConvertToUEFI(t *testing.T) { suite.Run(t, new(jobSuite)) }

func (s *jobSuite) SetupTest() {
	s.created, s.destroyed, s.finished = nil, nil, nil
	s.enrols = func(string) *durable.Enrolment { return nil }
	s.newEnv()
	s.onDestroy, s.destroyFails = func() {}, nil
	s.env.OnActivity(ctl.DestroyCE, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.DestroyCEInput) error {
		s.destroyed = append(s.destroyed, in.Name)
		s.onDestroy()
		return s.destroyFails
	}).Maybe()
}

// admitted is what preflight finds.
var admitted = convert.Admitted{
	Approval: convert.Approval{Output: "out.avhdx", PlanDigest: "plan"},
	Preview:  job.Result{DryRun: true, OutputFile: "out.avhdx", Plan: []byte(`{"esp":{}}`), Warnings: []string{"mind the gap"}},
}

// approve lets preflight pass, and CEs be created.
func (s *jobSuite) approve() {
	s.env.OnActivity(ctl.Preflight, mock.Anything, mock.Anything).Return(admitted, nil)
	s.env.OnActivity(ctl.CreateCE, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.CreateCEInput) (activities.CE, error) {
		s.created = append(s.created, in.Name)
		if e := s.enrols(in.Name); e != nil {
			s.env.UpdateWorkflowNoRejection(durable.UpdateEnrol, "", s.T(), *e)
		}
		return activities.CE{Ref: in.Name, EnrolWithin: time.Minute}, nil
	}).Maybe()
}

// stop lets the platform report that the CE has stopped, with that fault; it is
// called once for each CE.
func (s *jobSuite) stop(fault string) {
	s.env.OnActivity(ctl.WatchCE, mock.Anything, mock.Anything).Return(activities.CEStopped{Fault: fault}, nil)
}

func (s *jobSuite) finish(result error) {
	s.env.OnActivity(ctl.Finish, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.FinishInput) error {
		s.finished = append(s.finished, in)
		return result
	})
}

func (s *jobSuite) enrol() {
	s.enrols = func(name string) *durable.Enrolment {
		return &durable.Enrolment{CE: name, Key: strings.Repeat("a", 64), Protocol: enrol.Protocol}
	}
}

func (s *jobSuite) compose() {
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{Pieces: []convert.Piece{{Name: "out.avhdx", Partial: "out.avhdx.x.partial"}}, Result: job.Result{OutputFile: "out.avhdx"}}, nil)
}

func (s *jobSuite) publish(result error) {
	s.env.OnActivity(ce.Publish, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(result)
}

func (s *jobSuite) run(body string) (*job.Result, error) { return s.perform(ConvertToUEFI, body) }

// refused checks the failure type that users see, and what it carries.
func (s *jobSuite) refused(err error, code job.Code) {
	var app *temporal.ApplicationError
	s.Require().ErrorAs(err, &app)
	s.Equal(string(code), app.Type())
	s.Equal(code, durable.FromFailure(err).Code)
	s.NotEmpty(durable.FromFailure(err).Message)
}

func (s *jobSuite) TestTheWay() {
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	res, err := s.run(body)
	s.Require().NoError(err)
	s.Equal("out.avhdx", res.OutputFile)
	s.Equal([]string{`unknown key "colour" was ignored`, "mind the gap"}, res.Warnings)
	s.Equal(1, res.CompositingEngines)
	s.Equal(s.created, s.destroyed)
	s.Require().Len(s.finished, 1)
	s.True(s.finished[0].Keep)

	status := s.status()
	s.Equal(job.StateCompleted, status.State)
	s.Equal(job.PhaseDone, status.Phase)
	s.Equal(`\\h\disks\win10.vhdx`, status.Image)
	s.Equal(`\\h\disks\out.avhdx`, status.Output)
	s.Equal(res, status.Result)
}

func (s *jobSuite) TestBadBodyIsRefusedBeforeAnything() {
	_, err := s.run(`{"platform":"local"}`)
	s.refused(err, job.BadRequest)
	s.Equal(job.StateFailed, s.status().State)
}

func (s *jobSuite) TestBrokenJSON() {
	_, err := s.run(`{"platform":`)
	s.refused(err, job.BadRequest)
}

func (s *jobSuite) TestWrongQueue() {
	s.env.SetStartWorkflowOptions(client.StartWorkflowOptions{TaskQueue: "elsewhere"})
	_, err := s.run(body)
	s.refused(err, job.WrongResourceLocation)
}

func (s *jobSuite) TestPreflightRefusesBeforeACEExists() {
	s.env.OnActivity(ctl.Preflight, mock.Anything, mock.Anything).Return(convert.Admitted{},
		durable.Failure(job.Errorf(job.Hibernated, "shut it down", "Windows is hibernated"))).Once()
	_, err := s.run(body)
	s.refused(err, job.Hibernated)
	s.Equal("shut it down", durable.FromFailure(err).Remedy)
	s.Empty(s.created)
	s.Empty(s.finished)
}

func (s *jobSuite) TestCreateFailsAndIsCleanedUp() {
	s.env.OnActivity(ctl.Preflight, mock.Anything, mock.Anything).Return(admitted, nil)
	s.env.OnActivity(ctl.CreateCE, mock.Anything, mock.Anything).Return(activities.CE{}, durable.Failure(job.Errorf(job.PlatformRefused, "", "no such datastore")))
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.PlatformRefused)
	s.Len(s.destroyed, 1) // the attempt may have made one
	s.False(s.finished[0].Keep)
}

func (s *jobSuite) TestPublishRefusedTakesEverythingBack() {
	s.approve()
	s.enrol()
	s.compose()
	s.publish(durable.Failure(job.Errorf(job.OutputExists, "look", "a file out.avhdx appeared")))
	s.finish(nil)
	_, err := s.run(body)
	s.refused(err, job.OutputExists)
	s.False(s.finished[0].Keep)
	s.NotNil(s.finished[0].Composed)
}

// Cancelled while it waits for its CE: canceled, not failed, and cleaned up.
func (s *jobSuite) TestCancel() {
	s.approve()
	s.enrols = func(string) *durable.Enrolment {
		s.env.RegisterDelayedCallback(s.env.CancelWorkflow, time.Second)
		return nil
	}
	s.finish(nil)
	_, err := s.run(body)
	s.True(temporal.IsCanceledError(err), "%v", err)
	s.Equal(job.StateCanceled, s.status().State)
	s.Equal(s.created, s.destroyed)
	s.False(s.finished[0].Keep)
}

// Cancelled while the CE is torn down: the published output is taken back.
func (s *jobSuite) TestCancelInTearDown() {
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	s.onDestroy = s.env.CancelWorkflow
	_, err := s.run(body)
	s.True(temporal.IsCanceledError(err), "%v", err)
	s.False(s.finished[0].Keep)
}

// A clean-up that failed wins over every other outcome.
func (s *jobSuite) TestFailedCleanupIsSaid() {
	s.approve()
	s.enrol()
	s.compose()
	s.publish(durable.Failure(job.Errorf(job.OutputExists, "", "there")))
	s.finish(durable.Failure(job.Errorf(job.ShareDenied, "", "may not delete")))
	_, err := s.run(body)
	s.refused(err, job.CleanupFailed)
	s.Contains(err.Error(), "may not delete")
	s.Contains(err.Error(), "there") // what the job itself ended with
	s.Contains(durable.FromFailure(err).Remedy, ".replaced is the output of before")
}

// with adds fields to the request.
func with(fields string) string { return strings.Replace(body, "{", "{"+fields+",", 1) }

// A dry run ends with its plan: no CE, and nothing to clean up.
func (s *jobSuite) TestDryRun() {
	s.approve()
	res, err := s.run(with(`"dryRun":true`))
	s.Require().NoError(err)
	s.True(res.DryRun)
	s.JSONEq(`{"esp":{}}`, string(res.Plan))
	s.Empty(s.created)
	s.Empty(s.finished)
	s.Equal(job.StateCompleted, s.status().State)
	s.Contains(s.status().Warnings, "mind the gap")
	s.Equal(s.status().Warnings, res.Warnings)
	s.Len(res.Warnings, 2, "the request's unknown key is a warning of the result, too")
}

// The next version's name comes from the share.
func (s *jobSuite) TestNextVersion() {
	next := admitted
	next.Approval.Output, next.Preview.Output = "win10.4.avhdx", `\\h\disks\win10.4.avhdx`
	s.env.OnActivity(ctl.Preflight, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.PreflightInput) (convert.Admitted, error) {
		s.Empty(in.Task.Output)
		return next, nil
	})
	s.approve()
	s.enrol()
	s.compose()
	s.publish(nil)
	s.finish(nil)
	_, err := s.run(strings.Replace(with(`"pvsVersion":"Next"`), `"outputImageFilename":"out",`, "", 1))
	s.Require().NoError(err)
	s.Equal("win10.4.avhdx", s.finished[0].Task.Output)
	s.Equal(next.Preview.Output, s.status().Output)
}

// The output is booted before it gets its name, once, and a failure takes
// everything back.
func (s *jobSuite) TestBootProof() {
	s.approve()
	s.enrol()
	s.compose()
	s.env.OnActivity(ctl.ProveBoot, mock.Anything, mock.Anything).Return(func(ctx context.Context, in activities.ProveBootInput) (job.BootProof, error) {
		s.Equal(job.PhaseVerify, s.status().Phase)
		info := activity.GetInfo(ctx)
		s.Greater(info.Deadline.Sub(info.StartedTime), time.Hour, "there may be boots of other jobs ahead")
		return job.BootProof{Reached: "far"}, nil
	}).Once()
	lost := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil, "progress")
	s.env.OnActivity(ce.Publish, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(lost).Once()
	s.publish(nil)
	s.finish(nil)
	res, err := s.run(with(`"verify":"boot"`))
	s.Require().NoError(err)
	s.Equal("far", res.Boot.Reached)
}

func (s *jobSuite) TestBootFails() {
	s.approve()
	s.enrol()
	s.compose()
	s.env.OnActivity(ctl.ProveBoot, mock.Anything, mock.Anything).Return(job.BootProof{}, durable.Failure(job.Errorf(job.BootFailed, "report it", "firmware found nothing")))
	s.finish(nil)
	_, err := s.run(with(`"verify":"boot"`))
	s.refused(err, job.BootFailed)
	s.False(s.finished[0].Keep)
}

// Failure must not hide what an activity's own failure says.
func TestFailureKeepsCode(t *testing.T) {
	inner := job.Errorf(job.NoBCD, "bcdboot", "no BCD")
	for _, err := range []error{inner, job.At("win10.vhdx", inner), errors.Join(inner)} {
		got := durable.FromFailure(durable.Failure(err))
		if got.Code != job.NoBCD || got.Remedy != "bcdboot" || strings.Contains(got.Message, "bcdboot") {
			t.Errorf("%v came back as %#v", err, got)
		}
	}
}
