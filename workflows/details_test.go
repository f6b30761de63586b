package workflows

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/testsuite"

	"imageport/engine/convert"
	"imageport/engine/disk/copier"
	"imageport/engine/reverse"
	"imageport/job"
	"imageport/job/durable"
)

// current gives the details that the Web UI shows of a workflow.
func current(t *testing.T, env *testsuite.TestWorkflowEnvironment) string {
	t.Helper()
	answer, err := env.QueryWorkflow("__temporal_workflow_metadata")
	if err != nil {
		t.Fatal(err)
	}
	var metadata sdkpb.WorkflowMetadata
	if err := answer.Get(&metadata); err != nil {
		t.Fatal(err)
	}
	return metadata.GetCurrentDetails()
}

// Markdown must not eat what a message says.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		`no \\fs1\disks\*.vhdx`:  `no \\\\fs1\\disks\\\*.vhdx`,
		"give <name>, not `x`":   "give \\<name>, not \\`x\\`",
		"first\r\n- second\nend": "first - second end",
		"R&D_1 [x](y) ~1":        `R\&D\_1 \[x](y) \~1`,
		"--type 'x' ../$z":       `\-\-type 'x' \.\./\$z`,
	} {
		if got := plain(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	for name, want := range map[string]string{`\\h\s\x.vhdx`: "` \\\\h\\s\\x.vhdx `", "a``b": "``` a``b ```"} {
		if got := code(name); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}

func (s *jobSuite) TestDetailsOfARunningJob() {
	s.approve()
	s.enrol()
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(func(context.Context, convert.Task, convert.Approval) (convert.Composed, error) {
		shown := current(s.T(), s.env)
		s.Contains(shown, "convertToUefi running: **compose**, since "+s.env.Now().UTC().Format(time.DateOnly))
		s.Contains(shown, "tab Pending Activities")
		s.Contains(shown, "- Compositing Engine on local: ` "+s.created[0]+" `")
		return convert.Composed{}, nil
	})
	s.publish(nil)
	s.finish(nil)
	_, err := s.run(body)
	s.Require().NoError(err)
}

func (s *jobSuite) TestDetailsOfAFailedJob() {
	s.env.OnActivity(ctl.Preflight, mock.Anything, mock.Anything).Return(convert.Admitted{},
		durable.Failure(job.Errorf(job.ImageNotFound, `look for *.vhdx`, `\\h\disks has no win10.vhdx`)))
	_, err := s.run(body)
	s.refused(err, job.ImageNotFound)
	s.Regexp(`^convertToUefi \*\*failed\*\* in phase preflight\n\n\*\*IMAGE_NOT_FOUND\*\*: \\\\\\\\h\\\\disks has no win10.vhdx\n\n\*\*What to do\*\*: look for \\\*.vhdx\n\n`, current(s.T(), s.env))
}

// What the output is good for comes first.
func (s *jobSuite) TestDetailsOfACompletedJob() {
	s.approve()
	s.enrol()
	s.env.OnActivity(ce.Compose, mock.Anything, mock.Anything, mock.Anything).Return(convert.Composed{Result: job.Result{
		OutputFile: "out.avhdx", SizeBytes: 7, SHA256: "abc",
		PVS: &job.PVSSteps{PowerShell: []string{"# The <store>", "$site = '<SITE>'"}, Targets: []string{"Firmware: switch to EFI."}},
	}}, nil)
	s.publish(nil)
	s.finish(nil)
	_, err := s.run(body)
	s.Require().NoError(err)
	s.Equal("convertToUefi **completed**\n\n**Next**, in Citrix Provisioning:\n\n- The \\<store>\n- ` $site = '<SITE>' `\n\n"+
		"And for the target devices:\n\n- Firmware: switch to EFI.\n\n"+
		"- image: ` \\\\h\\disks\\win10.vhdx `\n- output: ` \\\\h\\disks\\out.avhdx `\n- size: ` 7 bytes `\n- sha256: ` abc `\n"+
		"- warning: unknown key \"colour\" was ignored\n- warning: mind the gap\n\n\u00a0\n", current(s.T(), s.env))
}

func (s *jobSuite) TestDetailsOfADryRun() {
	s.approve()
	_, err := s.run(with(`"dryRun":true`))
	s.Require().NoError(err)
	s.Regexp(`^convertToUefi \*\*completed\*\*\n\nIt was a dry run`, current(s.T(), s.env))
}

func (s *upgradeSuite) TestUpgradeDetails() {
	_, err := s.upgrade(upgradeBody)
	s.Require().NoError(err)
	shown := current(s.T(), s.env)
	s.Contains(shown, "New-PvsDiskLocator -Name 'new' -VHDX -SiteName")
	s.Contains(shown, "- PVS target software: ` 7.33 -> 7.40.0.50 `")

	s.SetupTest()
	s.admitted.Done, s.admitted.Preview.Upgrade.Skipped = true, true
	_, err = s.upgrade(upgradeBody)
	s.Require().NoError(err)
	shown = current(s.T(), s.env)
	s.Contains(shown, "Nothing was made: the image has version ` 7.33 ` already.")
	s.NotContains(shown, "**Next**")
}

func (s *reverseSuite) TestReverseDetails() {
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{}, nil })
	s.keep(nil)
	_, err := s.reverse(reverseBody)
	s.Require().NoError(err)
	s.Contains(current(s.T(), s.env), "Start the VM that was left around the disk.")

	s.SetupTest()
	s.copies(func(*copier.State) (reverse.Copied, error) { return reverse.Copied{}, nil })
	s.keep(nil)
	_, err = s.reverse(strings.Replace(reverseBody, `"createVm":true`, `"createVm":false`, 1))
	s.Require().NoError(err)
	s.Contains(current(s.T(), s.env), "Attach the disk to a VM with UEFI firmware")
}

func (s *batchSuite) TestBatchDetails() {
	s.ends["a-0"] = job.Errorf(job.Hibernated, `see \\h1`, "Windows is hibernated")
	s.batch(batchBody(images(3)))
	shown := current(s.T(), s.env)
	s.Regexp(`^convertToUefi of 3 images: \*\*1 failed, 2 completed\*\*\n\n\*\*Next\*\*: put right what has failed`, shown)
	s.Contains(shown, "- **failed**: ` \\\\h1\\s1\\a-0.vhdx ` **HIBERNATED**: Windows is hibernated. see \\\\\\\\h1\n")
}

// A request may have any number of unknown keys, of any length, and the status has
// to fit into an answer.
func (s *jobSuite) TestWarningsAreBounded() {
	var keys strings.Builder
	for i := range 2 * maxWarnings {
		fmt.Fprintf(&keys, `"k%d%s":1,`, i, strings.Repeat("ö", maxWarningBytes))
	}
	s.approve()
	res, err := s.run(strings.Replace(body, "{", "{"+keys.String()+`"dryRun":true,`, 1))
	s.Require().NoError(err)
	s.Len(res.Warnings, maxWarnings)
	for _, w := range res.Warnings {
		s.LessOrEqual(len(w), maxWarningBytes+len("…"))
	}
}
