package upgrade

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"imageport/engine/catalogue"
	"imageport/engine/disk/overlay"
	"imageport/engine/reverse"
	"imageport/engine/source"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

const home = `\ProgramData\imageport-firstboot\`

// judged is a disk on which a guest was, and the job that had it there.
type judged struct {
	t testing.TB
	workDisk
	windows winimage.Partition
	task    Task
	a       Approval
}

func newJudged(t testing.TB) *judged {
	t.Helper()
	img, was := must(t, newDisk), must(t, oldDisk)
	before, err := pvstarget.Inspect(t.Context(), onDisk(t, was.Path))
	if err != nil {
		t.Fatal(err)
	}
	info := source.FileID{SizeBytes: 1, Modified: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	return &judged{
		t: t, workDisk: onDisk(t, img.Path), windows: windisk.Windows(t, img),
		task: Task{
			Copy:   reverse.Task{Job: "ips/h/disks/win10", Key: "0123456789ab", Input: vDisk, Format: job.FormatVHDX},
			Output: "new.vhdx", Version: "2311", Timeout: 2 * time.Hour,
		},
		a: Approval{
			Copy:      reverse.Approval{SizeBytes: img.Spec.SizeBytes, Source: []source.Layer{{Name: vDisk, File: info}}},
			Installer: catalogue.Installer{ProductVersion: newVersion, Verify: catalogue.Verify{DisplayName: catalogue.DisplayNamePattern}},
			Before:    before,
		},
	}
}

// over puts text into a file of the runner.
func (j *judged) over(path, text string) {
	j.t.Helper()
	windisk.Replace(j.t, j.Overlay, j.windows, home+path, func(old []byte) []byte {
		if len(text) > len(old) {
			j.t.Fatalf("%d bytes for a file of %d", len(text), len(old))
		}
		return append([]byte(text), bytes.Repeat([]byte(" "), len(old)-len(text))...)
	})
}

// state has the runner leave a state.
func (j *judged) state(s plan.State) {
	j.t.Helper()
	s.Version = plan.Version
	if s.Job == "" {
		s.Job = j.task.Copy.Job
	}
	s.Started = time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	s.Updated = s.Started
	b, err := s.Encode()
	if err != nil {
		j.t.Fatal(err)
	}
	j.over(plan.StateFile, string(b))
}

func (j *judged) judge(how Ended) Outcome {
	j.t.Helper()
	out, err := Judge(j.t.Context(), j.task, j.a, j, how)
	if err != nil {
		j.t.Fatal(err)
	}
	return out
}

// step is one that is under way, and done is one that is not any more.
func step(done bool) []plan.StepState {
	return []plan.StepState{{Name: "install pvs-target 2311", Attempts: 1, InFlight: !done, Done: done, Seconds: 3}}
}

func failed(kind plan.FailureKind, code int) plan.State {
	return plan.State{Status: plan.Failed, Boots: 2, Steps: step(false), Failure: &plan.Failure{Kind: kind, Step: "install pvs-target 2311", ExitCode: code, Message: "what the runner says"}}
}

const (
	panicked = "Windows has stopped with 0x7B"
	noSpace  = "MSI (s): Error 1304. System error 112. There is not enough disk space.\r\n"
)

// Of a guest that did not get to its end, or failed.
func TestJudgeFailures(t *testing.T) {
	for _, c := range []struct {
		name  string
		state plan.State // without a status there is none
		raw   string     // in its place
		log   string     // of the installer, with its properties behind it if it is a long one
		how   Ended
		code  job.Code // "" is that it is to be started again
		says  []string
	}{
		{"nothing", plan.State{}, "", "", Ended{}, "", []string{"never started our service"}},
		{"nothing, and the platform knows why", plan.State{}, "", "", Ended{Fault: panicked}, "", []string{"never started", panicked}},
		{"nothing, and still on", plan.State{}, "", "", Ended{TimedOut: true, Fault: panicked}, job.GuestTimeout, []string{"2h0m0s", "never started", panicked}},
		{"another job's", plan.State{Status: plan.Failed, Job: "another", Failure: &plan.Failure{Kind: plan.ExitCode}}, "", "", Ended{}, "", []string{"never started"}},
		{"torn", plan.State{}, `{"version":1,"job":"ips/h`, "", Ended{}, "", []string{"cannot be read", "state.json"}},
		{"torn, and still on", plan.State{}, `{"version":1,"job":"ips/h`, "", Ended{TimedOut: true}, job.GuestTimeout, []string{"cannot be read"}},
		{"of a later release", plan.State{}, `{"version":9}`, "", Ended{}, "", []string{"version 9"}},
		{"started", plan.State{Status: plan.Running, Boots: 1}, "", "", Ended{}, "", []string{"started 1 times", "not begun"}},
		{"installing", plan.State{Status: plan.Running, Boots: 3, Steps: step(false)}, "", "", Ended{Fault: panicked}, "", []string{"started 3 times", "install pvs-target 2311", panicked}},
		{"installing, and still on", plan.State{Status: plan.Running, Boots: 3, Steps: step(false)}, "", "", Ended{TimedOut: true}, job.GuestTimeout, []string{"install pvs-target 2311"}},
		{"bad plan", failed(plan.BadPlan, 0), "", "", Ended{}, job.Internal, []string{"what the runner says"}},
		{"bad hash", failed(plan.BadHash, 0), "", "", Ended{}, job.InstallerHashMismatch, []string{`step "install pvs-target 2311": what the runner says`}},
		{"exit code", failed(plan.ExitCode, 1603), "", "", Ended{}, job.InstallerFailed, []string{"install pvs-target 2311"}},
		{"exit code, and the platform knows more", failed(plan.ExitCode, 1603), "", "", Ended{Fault: panicked}, job.InstallerFailed, []string{"what the runner says", panicked}},
		{"exit code of a full disk", failed(plan.ExitCode, 112), "", "", Ended{}, job.WindowsFull, []string{"the volume is full"}},
		{"HRESULT of a full disk", failed(plan.ExitCode, -2147024784), "", "", Ended{}, job.WindowsFull, []string{"the volume is full"}},
		{"full disk in the log", failed(plan.ExitCode, 1603), "", noSpace, Ended{}, job.WindowsFull, []string{"install pvs-target 2311"}},
		{"full disk in the middle of a log", failed(plan.ExitCode, 1603), "", noSpace + strings.Repeat("Property(S): x = y\r\n", 1000), Ended{}, job.WindowsFull, nil},
		{"error in the log that only looks like it", failed(plan.ExitCode, 1603), "", "Error 1120. A serial I/O operation was completed", Ended{}, job.InstallerFailed, nil},
		{"step timed out", failed(plan.TimedOut, 0), "", "", Ended{}, job.InstallerHung, []string{"install pvs-target 2311"}},
		{"not started", failed(plan.NotStarted, 0), "", "", Ended{}, job.InstallerFailed, []string{"install pvs-target 2311"}},
		{"too many tries", failed(plan.TooManyTries, 0), "", "", Ended{}, job.InstallerFailed, []string{"install pvs-target 2311"}},
		{"too many boots", failed(plan.TooManyBoots, 0), "", "", Ended{}, job.TooManyBoots, []string{"install pvs-target 2311"}},
		{"deadline", failed(plan.Deadline, 0), "", "", Ended{}, job.GuestTimeout, []string{"install pvs-target 2311"}},
		{"failed, and then did not switch itself off", failed(plan.Deadline, 0), "", "", Ended{TimedOut: true}, job.GuestTimeout, []string{"what the runner says"}},
		{"pending reboot", failed(plan.PendingReboot, 0), "", "", Ended{}, job.InstallerFailed, []string{"install pvs-target 2311"}},
		{"internal", failed(plan.Internal, 0), "", "", Ended{}, job.Internal, []string{"what the runner says"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudged(t)
			switch {
			case c.state.Status != "":
				j.state(c.state)
			case c.raw != "":
				j.over(plan.StateFile, c.raw)
			}
			name := "pvs-msi.log"
			if len(c.log) > 4096 {
				name = "long.log"
			}
			j.over(plan.LogDir+`\`+name, c.log)
			written := j.DirtyBytes()
			out := j.judge(c.how)
			text := out.Why
			if out.Failure != nil {
				text = out.Failure.Message
				refused(t, out.Failure, c.code, "")
			}
			if out.Again != (c.code == "") || (out.Failure == nil) != out.Again || out.Version != "" {
				t.Errorf("%+v", out)
			}
			for _, s := range c.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q does not say %q", text, s)
				}
			}
			if own := c.state.Status != "" && c.state.Job == ""; own && (out.Boots != c.state.Boots || len(out.Steps) != len(c.state.Steps)) || !own && (out.Boots != 0 || out.Steps != nil) {
				t.Errorf("boots %d, steps %+v", out.Boots, out.Steps)
			}
			if out.Guest.Log != "the runner's log\n" || len(out.Guest.Logs) != 2 || name == "pvs-msi.log" && !strings.HasPrefix(tail(out, name), strings.ReplaceAll(c.log, "\r", "")) {
				t.Errorf("logs %+v", out.Guest)
			}
			if j.DirtyBytes() != written {
				t.Error("the disk was written to")
			}
			if out.Again {
				code := job.TooManyBoots
				if out.Boots == 0 {
					code = job.GuestNotStarted
				}
				refused(t, out.NotEnded(), code, out.Why)
			}
		})
	}
	t.Run("nothing that can be read", func(t *testing.T) {
		j := newJudged(t)
		if _, err := j.WriteAt([]byte("BAAD"), j.windows.StartBytes+place(t, j.Overlay, j.windows, `\$MFT`)); err != nil {
			t.Fatal(err)
		}
		if out := j.judge(Ended{Fault: panicked}); !out.Again || !strings.Contains(out.Why, "the NTFS on partition 2") || !strings.Contains(out.Why, panicked) {
			t.Errorf("%+v", out)
		}
		if out := j.judge(Ended{TimedOut: true}); out.Failure == nil || out.Failure.Code != job.GuestTimeout {
			t.Errorf("%+v", out)
		}
	})
}

// tail is the end of a log.
func tail(o Outcome, name string) string {
	for _, l := range o.Guest.Logs {
		if l.Name == name {
			return l.Tail
		}
	}
	return ""
}

// Of a guest that says that it has succeeded.
func TestJudgeSuccess(t *testing.T) {
	done := plan.State{Status: plan.Succeeded, Boots: 2, Steps: step(true), Disarmed: true}
	product := must(t, func() (pvstarget.Facts, error) {
		return pvstarget.Inspect(t.Context(), onDisk(t, must(t, newDisk).Path))
	}).ProductCode
	for _, c := range []struct {
		name   string
		change func(testing.TB, *overlay.Overlay, winimage.Partition)
		want   func(v *catalogue.Verify)
		how    Ended
		wrong  string // "" is nothing
		warns  string
	}{
		{"as it says", nil, nil, Ended{}, "", ""},
		{"as it says, with what the catalogue wants", nil, func(v *catalogue.Verify) {
			v.Services, v.Files = []string{"bnistack", "BNDevice"}, []string{`C:\Windows\System32\drivers\bnistack6.sys`}
		}, Ended{}, "", ""},
		{"switched off at the end", nil, nil, Ended{TimedOut: true}, "", ""},
		{"the old version", in(software, set(uninstall+product, hive.SZ("DisplayVersion", oldVersion))), nil, Ended{}, oldVersion, ""},
		{"uninstalled", in(software, func(h *hive.Hive) error { return h.DeleteKey(uninstall + product) }), nil, Ended{}, "not in the list", ""},
		{"broken registration", in(software, func(h *hive.Hive) error { return h.DeleteKey(`Classes\Installer\Products`) }), nil, Ended{}, "contradicts itself", ""},
		{"no service", in(system, func(h *hive.Hive) error { return h.DeleteKey(`ControlSet001\Services\CFsDep2`) }), nil, Ended{}, "CFsDep2 is not there", ""},
		{"service to be removed", in(system, set(`ControlSet001\Services\bnistack`, hive.DWORD("DeleteFlag", 1))), nil, Ended{}, "bnistack is to be removed", ""},
		{"service without its file", in(system, set(`ControlSet001\Services\CVhdMp`, hive.ExpandSZ("ImagePath", `System32\drivers\gone.sys`))), nil, Ended{}, "gone.sys", ""},
		{"no service that the catalogue wants", nil, func(v *catalogue.Verify) { v.Services = []string{"MyService"} }, Ended{}, "MyService", ""},
		{"no file that the catalogue wants", nil, func(v *catalogue.Verify) { v.Files = []string{`C:\gone.exe`} }, Ended{}, `C:\gone.exe`, ""},
		{"marked for chkdsk", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { forChkdsk(t, d, p) }, nil, Ended{}, "marked dirty", ""},
		{"not dismounted", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { inJournal(t, d, p) }, nil, Ended{TimedOut: true, Fault: panicked}, "its time was up; the platform says: " + panicked, ""},
		{"hibernated", file(`\hiberfil.sys`, 0, "hibr"), nil, Ended{}, "hibernated", ""},
		{"registry without its end", unfinished(software), nil, Ended{}, "SOFTWARE", ""},
		{"in its set-up", in(system, set(`Setup`, hive.DWORD("SetupType", 2))), nil, Ended{}, "SetupType=2", ""},
		{"one more network card", in(system, set(nicKey+`4&1`, hive.SZ("ClassGUID", classKey))), nil, Ended{}, "", "knows 1 network cards, 0 before"},
		{"pending reboot", in(system, set(`ControlSet001\Control\Session Manager`, hive.MultiSZ("PendingFileRenameOperations", `\??\C:\a`, ""))), nil, Ended{}, "", "PendingFileRenameOperations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudged(t)
			j.state(done)
			if c.change != nil {
				c.change(t, j.Overlay, j.windows)
			}
			if c.want != nil {
				c.want(&j.a.Installer.Verify)
			}
			written := j.DirtyBytes()
			out := j.judge(c.how)
			if j.DirtyBytes() != written {
				t.Error("the disk was written to")
			}
			if out.Again || out.Boots != 2 || len(out.Steps) != 1 {
				t.Errorf("%+v", out)
			}
			if c.wrong != "" {
				if out.Failure == nil {
					t.Fatalf("%+v", out)
				}
				refused(t, out.Failure, job.UpgradeNotVerified, c.wrong)
				return
			}
			if out.Failure != nil || out.Version != newVersion {
				t.Errorf("%+v: %v", out, out.Failure)
			}
			if text := strings.Join(out.Warnings, "\n"); !strings.Contains(text, c.warns) || c.warns == "" && text != "" {
				t.Errorf("warnings %q", out.Warnings)
			}
		})
	}
}

// brokenDisk does not answer.
type brokenDisk struct{ workDisk }

var errCable = errors.New("the cable is out")

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, errCable }

// What the disk does is not the guest's doing.
func TestJudgeDiskFails(t *testing.T) {
	j := newJudged(t)
	if out, err := Judge(t.Context(), j.task, j.a, brokenDisk{j.workDisk}, Ended{}); !errors.Is(err, errCable) || !job.CodeOf(err).Transient() {
		t.Errorf("%+v, %v", out, err)
	}
	j.state(plan.State{Status: plan.Succeeded, Boots: 1, Steps: step(true)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := Judge(ctx, j.task, j.a, j, Ended{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", out, err)
	}
}
