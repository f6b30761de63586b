package workflows

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"imageport/activities"
	"imageport/engine/disk/copier"
	"imageport/engine/enrol"
	"imageport/engine/inject"
	"imageport/engine/publish"
	"imageport/engine/reverse"
	"imageport/engine/upgrade"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

const upgradeBody = `{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"h","sharePath":"disks"},"inputImageFilename":"win10","outputImageFilename":"new","upgradeOptions":{"installPvs":"2311"}}`

// upgradeSuite runs UpgradePVS with every activity replaced.
type upgradeSuite struct {
	operationSuite

	did      []string // what was done, in order
	admitted activities.UpgradeAdmitted
	injects  []error // of the calls in turn; nil from then on
	ends     func(n int) (activities.GuestEnd, error)
	outcomes []upgrade.Outcome // of the guests in turn
	exports  error
	finished []activities.FinishUpgradeInput
}

func TestUpgradePVS(t *testing.T) { suite.Run(t, new(upgradeSuite)) }

func (s *upgradeSuite) SetupTest() {
	s.did, s.injects, s.exports, s.finished = nil, nil, nil, nil
	s.ends = func(int) (activities.GuestEnd, error) { return activities.GuestEnd{}, nil }
	s.outcomes = []upgrade.Outcome{{Version: "7.40.0.50", Boots: 2, Guest: job.GuestReport{Log: "done"}}}
	s.admitted = activities.UpgradeAdmitted{
		Admitted: upgrade.Admitted{
			Approval: upgrade.Approval{Copy: reverse.Approval{SizeBytes: 64 << 20}, Catalogue: upgrade.Catalogue{Share: &job.StorageLocation{CredentialID: "installers"}}},
			Preview:  job.Result{SizeBytes: 64 << 20, FixUps: []job.FixUp{{What: "x"}}, Upgrade: &job.Upgrade{From: "7.33", To: "7.40"}},
		},
		Disk:  platforms.OutputDisk{Name: "work.raw", SizeBytes: 64 << 20},
		Guest: platforms.Guest{Disk: "work.raw", Firmware: job.UEFI},
	}
	s.newEnv()
	any1 := mock.Anything
	s.env.OnActivity(ctl.PreflightUpgrade, any1, any1).Return(func(_ context.Context, in activities.PreflightUpgradeInput) (activities.UpgradeAdmitted, error) {
		s.Equal("new.vhdx", in.Task.Output)
		s.do("preflight")
		return s.admitted, nil
	}).Maybe()
	s.env.OnActivity(ctl.CreateCE, any1, any1).Return(func(_ context.Context, in activities.CreateCEInput) (activities.CE, error) {
		s.do("create")
		s.env.UpdateWorkflowNoRejection(durable.UpdateEnrol, "", s.T(), durable.Enrolment{CE: in.Name, Key: strings.Repeat("a", 64), Protocol: enrol.Protocol})
		return activities.CE{EnrolWithin: time.Minute}, nil
	}).Maybe()
	s.env.OnActivity(ctl.StopCE, any1, any1).Return(func(context.Context, activities.StopCEInput) error { return s.do("stop") }).Maybe()
	s.env.OnActivity(ctl.DestroyCE, any1, any1).Return(func(context.Context, activities.DestroyCEInput) error { return s.do("destroy") }).Maybe()
	s.env.OnActivity(ctl.AddOutputDisk, any1, any1).Return(func(_ context.Context, in activities.OutputDiskInput) (platforms.OutputDiskRef, error) {
		s.Equal("work.raw", in.Disk.Name)
		return platforms.OutputDiskRef{Selector: "serial:s"}, s.do("attach")
	}).Maybe()
	s.env.OnActivity(ce.Copy, any1, any1, any1, any1, any1).Return(func(_ context.Context, _ reverse.Task, _ reverse.Approval, _ reverse.DiskRef, resume *copier.State) (reverse.Copied, error) {
		s.Nil(resume)
		return reverse.Copied{BytesRead: 100}, s.do("copy")
	}).Maybe()
	s.env.OnActivity(ce.FixUp, any1, any1, any1, any1).Return(func(context.Context, reverse.Task, reverse.Approval, reverse.DiskRef) error { return s.do("fix up") }).Maybe()
	s.env.OnActivity(ce.Inject, any1, any1, any1, any1).Return(func(context.Context, upgrade.Task, upgrade.Approval, reverse.DiskRef) (inject.Injected, error) {
		var err error
		if len(s.injects) > 0 {
			err, s.injects = s.injects[0], s.injects[1:]
		}
		_ = s.do("inject")
		return inject.Injected{}, err
	}).Maybe()
	s.env.OnActivity(ctl.StartGuest, any1, any1).Return(func(_ context.Context, in activities.GuestInput) (platforms.GuestState, error) {
		s.Equal(s.admitted.Guest, in.Guest)
		return platforms.GuestState{On: true}, s.do("guest")
	}).Maybe()
	guests := 0
	s.env.OnActivity(ctl.WaitGuest, any1, any1).Return(func(context.Context, activities.GuestInput) (activities.GuestEnd, error) {
		guests++
		return s.ends(guests)
	}).Maybe()
	s.env.OnActivity(ctl.RemoveGuest, any1, any1).Return(func(context.Context, activities.GuestInput) error { return s.do("remove guest") }).Maybe()
	s.env.OnActivity(ce.Judge, any1, any1, any1, any1, any1).Return(func(_ context.Context, _ upgrade.Task, _ upgrade.Approval, _ reverse.DiskRef, how upgrade.Ended) (upgrade.Outcome, error) {
		o := s.outcomes[min(guests, len(s.outcomes))-1]
		return o, s.do("judge")
	}).Maybe()
	s.env.OnActivity(ce.Clean, any1, any1, any1, any1).Return(func(context.Context, upgrade.Approval, reverse.DiskRef, inject.Undo) ([]job.FixUp, error) {
		return []job.FixUp{{What: "service"}}, s.do("clean")
	}).Maybe()
	s.env.OnActivity(ce.Export, any1, any1, any1, any1).Return(func(context.Context, upgrade.Task, upgrade.Approval, reverse.DiskRef) (upgrade.Exported, error) {
		_ = s.do("export")
		return upgrade.Exported{Piece: publish.Piece{Name: "new.vhdx", Partial: "p"}, SizeBytes: 7, BytesRead: 11}, s.exports
	}).Maybe()
	s.env.OnActivity(ce.PublishExport, any1, any1, any1).Return(func(_ context.Context, _ upgrade.Task, p publish.Piece) error {
		s.Equal("p", p.Partial)
		return s.do("publish")
	}).Maybe()
	s.env.OnActivity(ctl.FinishUpgrade, any1, any1).Return(func(_ context.Context, in activities.FinishUpgradeInput) error {
		s.finished = append(s.finished, in)
		return s.do("finish")
	}).Maybe()
}

func (s *upgradeSuite) do(what string) error {
	s.did = append(s.did, what)
	return nil
}

func (s *upgradeSuite) upgrade(body string) (*job.Result, error) { return s.perform(UpgradePVS, body) }

func (s *upgradeSuite) failed(err error, code job.Code) {
	s.Require().Error(err)
	s.Equal(code, durable.FromFailure(err).Code)
	s.Equal([]string{"destroy", "finish"}, s.did[len(s.did)-2:])
	s.False(s.finished[0].Keep)
}

var (
	prepared = []string{"preflight", "create", "attach", "copy", "fix up", "inject"}
	booted   = []string{"stop", "guest", "remove guest", "create", "attach", "judge"}
	written  = []string{"clean", "export", "publish", "destroy", "finish"}
)

func (s *upgradeSuite) TestUpgradeSucceeds() {
	res, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	s.Equal(slices.Concat(prepared, booted, written), s.did)
	s.Equal("new.vhdx", res.OutputFile)
	s.Equal(int64(111), res.BytesRead)
	s.Equal(1, res.CompositingEngines)
	s.Equal(job.Upgrade{From: "7.33", To: "7.40.0.50", Boots: 2, Guests: 1, Removed: []job.FixUp{{What: "service"}}}, *res.Upgrade)
	s.Equal("done", s.status().Guest.Log)
	s.True(s.finished[0].Keep)
}

func (s *upgradeSuite) TestUpgradeDryRun() {
	res, err := s.upgrade(strings.Replace(upgradeBody, `"inputImageFilename"`, `"dryRun":true,"inputImageFilename"`, 1))
	s.Require().NoError(err)
	s.True(res.DryRun)
	s.Equal("7.40", res.Upgrade.To)
	s.Equal([]string{"preflight"}, s.did)
}

// An image that has the version needs no CE, and no output.
func (s *upgradeSuite) TestUpgradeHasVersion() {
	s.admitted.Done, s.admitted.Preview.Upgrade.Skipped = true, true
	res, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	s.True(res.Upgrade.Skipped)
	s.Empty(res.Output)
	s.Equal([]string{"preflight"}, s.did)
}

// What Inject leaves half done is not mended, but copied anew.
func (s *upgradeSuite) TestUpgradeInjectsIntoAFreshCopy() {
	s.injects = []error{durable.Failure(job.Errorf(job.ShareUnreachable, "", "away"))}
	_, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	s.Equal(slices.Concat(prepared, prepared[2:], booted, written), s.did)
}

// An agent that was out of reach for a moment, as when the worker is replaced, is no
// end of a job: what was put into the copy meanwhile is not known, and it is copied
// anew.
func (s *upgradeSuite) TestUpgradeInjectFallsSilent() {
	s.injects = []error{temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil)}
	_, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	s.Equal([]string{"preflight", "create", "attach", "copy", "fix up", "inject", "attach", "copy", "fix up", "inject", "stop"}, s.did[:11])
}

func (s *upgradeSuite) TestUpgradeInjectFails() {
	s.injects = []error{durable.Failure(job.Errorf(job.InstallerHashMismatch, "", "other bytes"))}
	_, err := s.upgrade(upgradeBody)
	s.failed(err, job.InstallerHashMismatch)
	s.NotContains(s.did, "guest")
}

func (s *upgradeSuite) TestUpgradeInstallerFails() {
	s.outcomes[0].Failure = job.Errorf(job.InstallerFailed, "look", "exit code 1603")
	_, err := s.upgrade(upgradeBody)
	s.failed(err, job.InstallerFailed)
	s.NotContains(s.did, "export")
	s.Equal("done", s.status().Guest.Log)
}

// A guest that came to no end is started again, a few times.
func (s *upgradeSuite) TestUpgradeStartsAgain() {
	again := upgrade.Outcome{Again: true, Boots: 1, Why: "power was lost"}
	s.outcomes = []upgrade.Outcome{again, s.outcomes[0]}
	res, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	s.Equal(slices.Concat(prepared, booted, booted, written), s.did)
	s.Equal(2, res.Upgrade.Guests)
	s.Equal(1, res.CompositingEngines)
	s.True(slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.Contains(w, "power was lost") }))
}

func (s *upgradeSuite) TestUpgradeNeverEnds() {
	s.outcomes = []upgrade.Outcome{{Again: true, Boots: 1, Why: "power was lost"}}
	_, err := s.upgrade(upgradeBody)
	s.failed(err, job.TooManyBoots)
	s.Equal(maxGuests, count(s.did, "guest"))
}

func (s *upgradeSuite) TestUpgradeNeverStarts() {
	s.outcomes = []upgrade.Outcome{{Again: true, Why: "nothing"}}
	_, err := s.upgrade(upgradeBody)
	s.failed(err, job.GuestNotStarted)
	s.Equal(maxSilent, count(s.did, "guest"))
}

func (s *upgradeSuite) TestUpgradeTimesOut() {
	s.ends = func(int) (activities.GuestEnd, error) {
		return activities.GuestEnd{Ended: upgrade.Ended{TimedOut: true}, Screen: []byte("png")}, nil
	}
	s.outcomes[0].Failure = job.Errorf(job.GuestTimeout, "look", "still on")
	_, err := s.upgrade(upgradeBody)
	s.failed(err, job.GuestTimeout)
	guest := s.status().Guest
	s.Equal("png", string(guest.Screen))
	s.Equal("done", guest.Log)
}

// The guest is switched off with the CE that it belongs to.
func (s *upgradeSuite) TestUpgradeCancelledWhileTheGuestIsOn() {
	s.ends = func(int) (activities.GuestEnd, error) {
		s.env.CancelWorkflow()
		return activities.GuestEnd{}, temporal.NewCanceledError()
	}
	_, err := s.upgrade(upgradeBody)
	s.Require().Error(err)
	s.Equal(job.StateCanceled, s.status().State)
	s.Equal([]string{"stop", "guest", "destroy", "finish"}, s.did[len(prepared):])
	s.False(s.finished[0].Keep)
}

func (s *upgradeSuite) TestUpgradeExportFails() {
	s.exports = durable.Failure(job.Errorf(job.ShareFull, "make room", "full"))
	_, err := s.upgrade(upgradeBody)
	s.failed(err, job.ShareFull)
	s.NotContains(s.did, "publish")
}

func (s *upgradeSuite) TestUpgradeBadRequest() {
	_, err := s.upgrade(strings.Replace(upgradeBody, `"2311"`, `""`, 1))
	s.Require().Error(err)
	s.Equal(job.BadRequest, durable.FromFailure(err).Code)
	s.Empty(s.did)
}

func count(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}
