package workflows

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"

	"imageport/activities"
	"imageport/engine/disk/copier"
	"imageport/engine/enrol"
	"imageport/engine/reverse"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

const reverseBody = `{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"h","sharePath":"disks"},"inputImageFilename":"win10","outputDiskName":"images/x.raw","createVm":true}`

// reverseSuite runs ReverseImage with every activity replaced.
type reverseSuite struct {
	operationSuite

	did   []string // what was done, in order
	fixUp []job.FixUp
	vmErr error
}

func TestReverseImage(t *testing.T) { suite.Run(t, new(reverseSuite)) }

func (s *reverseSuite) SetupTest() {
	s.did, s.fixUp, s.vmErr = nil, []job.FixUp{{What: "x"}}, nil
	s.newEnv()
	s.env.OnActivity(ctl.DestroyCE, mock.Anything, mock.Anything).Return(func(context.Context, activities.DestroyCEInput) error {
		s.do("destroy")
		return nil
	}).Maybe()
	s.env.OnActivity(ctl.PreflightReverse, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.PreflightReverseInput) (reverse.Admitted, error) {
		s.do("preflight " + in.VM)
		return reverse.Admitted{Approval: reverse.Approval{SizeBytes: 64 << 20}, Preview: job.Result{SizeBytes: 64 << 20, FixUps: s.fixUp, Firmware: job.UEFI}}, nil
	}).Maybe()
	s.env.OnActivity(ctl.CreateCE, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.CreateCEInput) (activities.CE, error) {
		s.do("create")
		s.env.UpdateWorkflowNoRejection(durable.UpdateEnrol, "", s.T(), durable.Enrolment{CE: in.Name, Key: strings.Repeat("a", 64), Protocol: enrol.Protocol})
		return activities.CE{EnrolWithin: time.Minute}, nil
	}).Maybe()
	s.env.OnActivity(ctl.StopCE, mock.Anything, mock.Anything).Return(func(context.Context, activities.StopCEInput) error {
		s.do("stop")
		return nil
	}).Maybe()
	s.env.OnActivity(ctl.AddOutputDisk, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.OutputDiskInput) (platforms.OutputDiskRef, error) {
		s.Equal(int64(64<<20), in.Disk.SizeBytes)
		s.do("attach")
		return platforms.OutputDiskRef{Selector: "serial:s"}, nil
	}).Maybe()
	s.env.OnActivity(ctl.MakeOutputVM, mock.Anything, mock.Anything).Return(func(context.Context, activities.MakeOutputVMInput) (string, error) {
		s.do("VM")
		return "vm-1", s.vmErr
	}).Maybe()
}

func (s *reverseSuite) do(what string) { s.did = append(s.did, what) }

func (s *reverseSuite) keep(result error) {
	s.env.OnActivity(ctl.KeepOutputDisk, mock.Anything, mock.Anything).Return(func(context.Context, activities.OutputDiskInput) error {
		s.do("keep")
		return result
	}).Maybe()
}

func (s *reverseSuite) copies(f func(resume *copier.State) (reverse.Copied, error)) {
	s.env.OnActivity(ce.Copy, mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(
		func(_ context.Context, _ reverse.Task, _ reverse.Approval, _ reverse.DiskRef, resume *copier.State) (reverse.Copied, error) {
			s.do("copy")
			return f(resume)
		})
	s.env.OnActivity(ce.FixUp, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(func(context.Context, reverse.Task, reverse.Approval, reverse.DiskRef) error {
		s.do("fix up")
		return nil
	}).Maybe()
}

func (s *reverseSuite) reverse(body string) (*job.Result, error) {
	return s.perform(ReverseImage, body)
}

func (s *reverseSuite) failed(err error, code job.Code) {
	s.Require().Error(err)
	s.Equal(code, durable.FromFailure(err).Code)
}

func (s *reverseSuite) TestReverseSucceeds() {
	s.keep(nil)
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{CRC32C: "12345678"}, nil })
	res, err := s.reverse(reverseBody)
	s.Require().NoError(err)
	s.Equal("images/x.raw", res.Output)
	s.Equal("12345678", res.CRC32C)
	s.Equal("vm-1", res.VM)
	s.Equal([]string{"preflight x", "create", "attach", "copy", "fix up", "keep", "destroy", "VM"}, s.did)
}

func (s *reverseSuite) TestReverseDryRun() {
	res, err := s.reverse(strings.Replace(reverseBody, `"createVm"`, `"dryRun":true,"createVm"`, 1))
	s.Require().NoError(err)
	s.True(res.DryRun)
	s.Equal([]string{"preflight x"}, s.did)
}

func (s *reverseSuite) TestReverseBitExactHasNothingToFixUp() {
	s.fixUp = nil
	s.keep(nil)
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{}, nil })
	_, err := s.reverse(reverseBody)
	s.Require().NoError(err)
	s.NotContains(s.did, "fix up")
}

// A disk that is bad is not kept.
func (s *reverseSuite) TestReverseVerifyFails() {
	s.keep(nil)
	s.copies(func(*copier.State) (reverse.Copied, error) {
		return reverse.Copied{}, durable.Failure(job.Errorf(job.VerifyFailed, "", "the disk is bad"))
	})
	_, err := s.reverse(reverseBody)
	s.failed(err, job.VerifyFailed)
	s.Equal([]string{"preflight x", "create", "attach", "copy", "destroy"}, s.did)
}

// Whatever goes wrong before the disk has its name, it goes with the CE.
func (s *reverseSuite) TestReverseNameTaken() {
	s.keep(durable.Failure(job.Errorf(job.OutputExists, "choose", "taken")))
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{}, nil })
	_, err := s.reverse(reverseBody)
	s.failed(err, job.OutputExists)
	s.Equal("destroy", s.did[len(s.did)-1])
	s.NotContains(s.did, "VM")
}

// A cancel that comes while the disk gets its name comes too late.
func (s *reverseSuite) TestReverseCancelledTooLate() {
	s.env.OnActivity(ctl.KeepOutputDisk, mock.Anything, mock.Anything).Return(func(context.Context, activities.OutputDiskInput) error {
		s.env.CancelWorkflow()
		s.do("keep")
		return nil
	})
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{}, nil })
	_, err := s.reverse(reverseBody)
	s.Require().NoError(err)
	s.Equal(job.StateCompleted, s.status().State)
}

func (s *reverseSuite) TestReverseCancelledInTheCopy() {
	s.keep(nil)
	s.copies(func(*copier.State) (reverse.Copied, error) {
		s.env.CancelWorkflow()
		return reverse.Copied{}, nil
	})
	_, err := s.reverse(reverseBody)
	s.Require().Error(err)
	s.Equal(job.StateCanceled, s.status().State)
	s.NotContains(s.did, "keep")
	s.Equal("destroy", s.did[len(s.did)-1])
}

// The disk took hours: that there is no VM around it is told, and it stays.
func (s *reverseSuite) TestReverseVMFails() {
	s.vmErr = durable.Failure(job.Errorf(job.PlatformRefused, "look", "the folder is gone"))
	s.keep(nil)
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{}, nil })
	res, err := s.reverse(reverseBody)
	s.Require().NoError(err)
	s.True(slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.Contains(w, "the folder is gone") }))
}
