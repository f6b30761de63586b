package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"imageport/engine/catalogue"
	"imageport/engine/diskimage"
	"imageport/engine/inject"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/embedded"
	"imageport/firstboot/plan"
	"imageport/job"
)

// Inject prepares the Windows of a fresh copy: at its next start the runner does
// what is planned.
func Inject(ctx context.Context, dial Dial, t Task, a Approval, d reverse.Disk, report func(job.Progress)) (inject.Injected, error) {
	runner, err := embedded.Runner()
	if err != nil {
		return inject.Injected{}, job.Errorf(job.ToolMissing, "Build the appliance of this release anew", "the Compositing Engine has nothing to put into the image: %w", err)
	}
	in := inject.Injection{Partition: a.partition(), Plan: t.Plan(a), Runner: runner}
	for _, f := range catalogue.Files(a.Installer) {
		file, err := a.Catalogue.file(ctx, dial, f, a.Installer)
		if err != nil {
			return inject.Injected{}, err
		}
		defer file.Close()
		in.Files = append(in.Files, inject.File{Name: f.Name, SizeBytes: file.Size(), SHA256: f.SHA256, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(file, 0, file.Size())), nil
		}})
	}
	return inject.Inject(ctx, d, in, report)
}

// Ended is how the guest was found when it was over.
type Ended struct {
	// TimedOut says that it was switched off because its time was up.
	TimedOut bool `json:"timedOut,omitempty"`
	// Fault is what the platform says of its end, "" for nothing.
	Fault string `json:"fault,omitempty"`
}

// said is what the platform says, behind a message.
func (e Ended) said() string {
	if e.Fault == "" {
		return ""
	}
	return "; the platform says: " + e.Fault
}

// Outcome is what the guest made of the disk.
type Outcome struct {
	// Again says that the Windows came to no end, and Why: it may be started once
	// more. Failure says why it has failed for good. With neither it has succeeded.
	Again   bool       `json:"again,omitempty"`
	Why     string     `json:"why,omitempty"`
	Failure *job.Error `json:"failure,omitempty"`
	// Version is the one of the software that is installed now.
	Version  string            `json:"version,omitempty"`
	Boots    int               `json:"boots,omitempty"`
	Steps    []job.UpgradeStep `json:"steps,omitempty"`
	Guest    job.GuestReport   `json:"guest"`
	Warnings []string          `json:"warnings,omitempty"`
}

// Judge reads from the working disk what happened, and sees for itself whether it
// is right. It changes nothing. Its error is one of the disk; what is wrong with
// the guest is in the outcome.
func Judge(ctx context.Context, t Task, a Approval, d reverse.Disk, how Ended) (Outcome, error) {
	read, err := inject.Read(ctx, d, a.partition())
	switch e, refused := errors.AsType[*job.Error](err); {
	case refused && !e.Code.Transient(): // the guest has left no volume that can be read
		read.Torn = e.Message
	case err != nil:
		return Outcome{}, err
	}
	var out Outcome
	out.Guest.Log = job.Redact(read.Log)
	for _, l := range read.Logs {
		out.Guest.Logs = append(out.Guest.Logs, job.GuestLog{Name: l.Name, Tail: job.Redact(l.Tail)})
	}
	s := read.State
	if s != nil && s.Job != t.Copy.Job {
		s = nil
	}
	if s != nil {
		out.Boots = s.Boots
		for _, st := range s.Steps {
			out.Steps = append(out.Steps, job.UpgradeStep{Name: st.Name, ExitCode: st.ExitCode, Attempts: st.Attempts, Seconds: st.Seconds, Note: st.Note})
		}
	}
	switch {
	case s != nil && s.Status == plan.Failed && s.Failure != nil:
		full, err := a.diskFull(ctx, d, *s.Failure)
		if err != nil {
			return Outcome{}, err
		}
		out.Failure = failure(*s.Failure, full, how)
	case s != nil && s.Status == plan.Succeeded:
		return out, verify(ctx, a, d, how, &out)
	default:
		if read.Torn != "" {
			how.Fault = strings.TrimPrefix(how.Fault+"; what the runner has left cannot be read: "+read.Torn, "; ")
		}
		out.unfinished(t, s, how, s == nil && read.Torn == "")
	}
	return out, nil
}

// unfinished judges a guest that was switched off before its runner said that it
// was done, or, if it was silent, anything at all.
func (o *Outcome) unfinished(t Task, s *plan.State, how Ended, silent bool) {
	at := "its Windows never started our service"
	if s != nil && len(s.Steps) > 0 {
		at = fmt.Sprintf("its Windows has started %d times, and was at the step %q", s.Boots, s.Steps[len(s.Steps)-1].Name)
	} else if s != nil {
		at = fmt.Sprintf("its Windows has started %d times, and had not begun to install", s.Boots)
	}
	at += how.said()
	switch {
	case how.TimedOut && silent:
		o.Failure = job.Errorf(job.GuestNotStarted, "Look at the picture of its screen in the job's status: a stop error, or a Windows that waits; protection of the image may block unknown services",
			"the copy was still on after %v, and %s", t.Timeout, at)
		return
	case how.TimedOut:
		o.Failure = job.Errorf(job.GuestTimeout, "Look at the picture of its screen and the logs in the job's status; raise upgradeOptions.timeoutMinutes if it was merely slow",
			"the copy was still running after %v: %s", t.Timeout, at)
		return
	}
	o.Again, o.Why = true, at
}

// NotEnded is the failure of a guest that was started as often as it may be.
func (o Outcome) NotEnded() error {
	if o.Boots == 0 {
		return job.Errorf(job.GuestNotStarted, "Start the disk that reverseImage makes of the image, and see how far it gets: a stop error, or protection that blocks unknown services",
			"the copy was started and switched itself off before the runner did anything: %s", o.Why)
	}
	return job.Errorf(job.TooManyBoots, "Look at the logs in the job's status, and at the platform's events", "the copy was switched off again and again before the installation ended: %s", o.Why)
}

// failure gives what the runner says its code. full says that there was no room
// left on the volume.
func failure(f plan.Failure, full bool, how Ended) *job.Error {
	where := f.Message + how.said()
	if f.Step != "" {
		where = fmt.Sprintf("step %q: %s", f.Step, where)
	}
	logs := "Look at the logs in the job's status"
	switch f.Kind {
	case plan.BadHash:
		return job.Errorf(job.InstallerHashMismatch, "Run imageport catalogue check --deep, then start the job again", "%s", where)
	case plan.TimedOut:
		return job.Errorf(job.InstallerHung, logs+": an installer that waits for an answer in a dialog cannot be helped; one that is slow gets more time with timeoutMinutes in the catalogue", "%s", where)
	case plan.TooManyBoots:
		return job.Errorf(job.TooManyBoots, logs, "%s", where)
	case plan.Deadline:
		return job.Errorf(job.GuestTimeout, logs+", or raise upgradeOptions.timeoutMinutes", "%s", where)
	case plan.ExitCode:
		if full {
			return job.Errorf(job.WindowsFull, "Make room in the image in a maintenance version", "%s: the volume is full", where)
		}
		return job.Errorf(job.InstallerFailed, logs, "%s", where)
	case plan.NotStarted, plan.TooManyTries, plan.PendingReboot:
		return job.Errorf(job.InstallerFailed, logs, "%s", where)
	}
	return job.Errorf(job.Internal, "Report it, with the logs in the job's status", "the runner failed: %s", where)
}

// ERROR_DISK_FULL ([MS-ERREF] 2.2), and the HRESULT for it (2.1).
const (
	errorDiskFull   = 112
	hresultDiskFull = 0x80070070
)

// logDiskFull is how logs of installers say the same.
var logDiskFull = regexp.MustCompile(`(?i)\berror:? 112\b|\b80070070\b|0x80070070\b|not enough disk space|out of disk space`)

// diskFull reports whether an installer failed as there was no room.
func (a Approval) diskFull(ctx context.Context, d reverse.Disk, f plan.Failure) (bool, error) {
	if f.Kind != plan.ExitCode {
		return false, nil
	}
	if code := uint32(f.ExitCode); code == errorDiskFull || code == hresultDiskFull {
		return true, nil
	}
	return inject.LogsSay(ctx, d, a.partition(), logDiskFull)
}

// verify sees whether a guest that says it has succeeded has.
func verify(ctx context.Context, a Approval, d reverse.Disk, how Ended, out *Outcome) error {
	after, err := pvstarget.InspectFor(ctx, a.view(d), a.want().Options())
	switch e, refused := errors.AsType[*job.Error](err); {
	case refused && !e.Code.Transient():
		out.Failure = notVerified("its Windows is not as one that was shut down: "+e.Message, how)
		return nil
	case err != nil:
		return err
	}
	out.Version = after.Version
	if wrong := pvstarget.Verify(after, a.want()); len(wrong) > 0 {
		out.Failure = notVerified(strings.Join(wrong, "; "), how)
		return nil
	}
	if len(after.NICs) > len(a.Before.NICs) {
		out.Warnings = append(out.Warnings, fmt.Sprintf("the Windows knows %d network cards, %d before: a card that is not there any more can keep a streamed start from working; remove it in the Device Manager (hidden devices)", len(after.NICs), len(a.Before.NICs)))
	}
	for _, reason := range after.PendingReboot {
		out.Warnings = append(out.Warnings, fmt.Sprintf("a restart is still pending in the output (%s): start it once in a maintenance version", reason))
	}
	out.Warnings = append(out.Warnings, after.Warnings...)
	return nil
}

func notVerified(what string, how Ended) *job.Error {
	if how.TimedOut {
		what += "; it was switched off because its time was up"
	}
	return job.Errorf(job.UpgradeNotVerified, "Look at the logs in the job's status; nothing was made of it", "the installer says that it succeeded, but in the copy %s%s", what, how.said())
}

// Clean takes back what Inject has put into the Windows.
func Clean(ctx context.Context, a Approval, d reverse.Disk, undo inject.Undo, report func(job.Progress)) ([]job.FixUp, error) {
	return inject.Clean(ctx, d, a.partition(), undo, report)
}

// Prove looks at the exported file as anybody would who gets it: it must hold the
// version, and nothing of ours.
func Prove(ctx context.Context, store share.Store, a Approval, file string) error {
	im, err := source.Open(ctx, source.Input{Store: store, Name: file, Access: source.Scattered})
	if err != nil {
		return err
	}
	defer im.Close()
	wrong, err := a.wrongIn(ctx, im)
	if e, refused := errors.AsType[*job.Error](err); refused && !e.Code.Transient() {
		wrong, err = []string{e.Message}, nil
	}
	switch {
	case err != nil:
		return job.At(file, err)
	case len(wrong) > 0:
		return job.Errorf(job.UpgradeNotVerified, "Report it", "the written file %s is not right: %s", file, strings.Join(wrong, "; "))
	}
	return nil
}

// wrongIn says what is wrong in an image that was written. A refusal says why it
// cannot be told.
func (a Approval) wrongIn(ctx context.Context, im *source.Image) ([]string, error) {
	facts, err := pvstarget.InspectFor(ctx, im.Chain, a.want().Options())
	if err != nil {
		return nil, diskimage.Coded(err)
	}
	wrong := pvstarget.Verify(facts, a.want())
	left, err := inject.Traces(ctx, im.Chain, a.partition())
	if err != nil {
		return nil, diskimage.Coded(err)
	}
	for _, l := range left {
		wrong = append(wrong, "there still is "+l)
	}
	return wrong, nil
}

// view is the working disk as a disk of the size that was asked for.
func (a Approval) view(d reverse.Disk) view { return view{d, a.Copy.SizeBytes} }

type view struct {
	io.ReaderAt
	size int64
}

func (v view) Size() int64   { return v.size }
func (view) SectorSize() int { return sectorBytes }
