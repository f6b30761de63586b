package workflows

import (
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/inject"
	"imageport/engine/publish"
	"imageport/engine/reverse"
	"imageport/engine/upgrade"
	"imageport/job"
	"imageport/job/durable"
)

// UpgradePVS makes a copy of a vDisk with other PVS target software. Its input is
// the specification's JSON ("Upgrade PVS"), taken raw as ConvertToUEFI does.
// Failure types are the codes of package job.
func UpgradePVS(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	return perform(ctx, job.OpUpgradePVS, func(j *lifecycle) (*job.Result, error) {
		req, warnings, err := job.Parse[job.UpgradePVS](body.Payload().GetData())
		if err != nil {
			return nil, err
		}
		outputID, err := req.OutputID()
		if err != nil {
			return nil, err
		}
		if err := j.admit(ctx, &req.Request, req.OutputPath(), outputID, warnings); err != nil {
			return nil, err
		}
		u := &upgradePVS{req: req, diskCopy: diskCopy{lifecycle: j, task: j.copyTask(&req.Request, req.OutputSizeMB)}}
		u.task.IgnoreLock = req.IgnoreLock
		u.whole = upgrade.Task{
			Copy:      u.task,
			Output:    req.OutputFile(),
			Overwrite: req.OverwriteOutput,
			Version:   req.UpgradeOptions.InstallPVS,
			Force:     req.UpgradeOptions.Force,
			Verify:    req.Verify,
			Timeout:   req.UpgradeOptions.Timeout(),
		}
		return u.run(ctx)
	})
}

// upgradePVS is one job: what it is to do, and how far it has come.
type upgradePVS struct {
	diskCopy
	req      job.UpgradePVS
	whole    upgrade.Task
	admitted activities.UpgradeAdmitted

	injecting bool // the disk is not the copy any more
	injected  *inject.Injected
	guests    int // times that the guest was switched on
	ended     upgrade.Ended
	outcome   *upgrade.Outcome
	removed   []job.FixUp
	cleaned   bool
	exported  *upgrade.Exported
}

// maxGuests is how often the guest is switched on that came to no end, and
// maxSilent how often where its runner never did anything.
const (
	maxGuests = 4
	maxSilent = 2
)

func (u *upgradePVS) run(ctx workflow.Context) (*job.Result, error) {
	if err := u.preflight(ctx); err != nil {
		return nil, orCanceled(ctx, err) // nothing was made yet
	}
	if u.req.DryRun || u.admitted.Done {
		preview := u.result()
		preview.DryRun = u.req.DryRun
		return preview, nil
	}
	if err := u.tearDown(ctx, u.make(ctx), u.finish); err != nil {
		return nil, err
	}
	return u.result(), nil
}

// make copies, installs and exports.
func (u *upgradePVS) make(ctx workflow.Context) error {
	if err := u.onCE(ctx, u.prepare); err != nil {
		return err
	}
	for {
		if err := u.boot(ctx); err != nil {
			return err
		}
		if err := u.onCE(ctx, u.complete); err != nil {
			return err
		}
		if u.exported != nil {
			return nil
		}
		if u.guests == maxGuests || u.guests >= maxSilent && u.outcome.Boots == 0 {
			return u.outcome.NotEnded()
		}
		u.warn("the copy is started again: " + u.outcome.Why)
		u.outcome = nil
	}
}

func (u *upgradePVS) preflight(ctx workflow.Context) error {
	in := activities.PreflightUpgradeInput{Target: u.target, Task: u.whole, Options: u.req.UpgradeOptions}
	if err := workflow.ExecuteActivity(checking(ctx, "check "+u.task.Input), ctl.PreflightUpgrade, in).Get(ctx, &u.admitted); err != nil {
		return err
	}
	u.warn(u.admitted.Preview.Warnings...)
	a := &u.admitted
	u.approval, u.disk, u.fixUps = a.Approval.Copy, a.Disk, len(a.Preview.FixUps) > 0
	if from := a.Approval.Catalogue.Share; from != nil && !u.access.Has(from.CredentialID) {
		u.access.Credentials = append(u.access.Credentials, from.CredentialID)
	}
	return nil
}

// maxCopies is how often the image is copied because the step after it, which
// needs a fresh copy, failed in a way that another attempt may mend.
const maxCopies = 3

// prepare brings the image to the working disk, with what is to happen at its
// next start.
func (u *upgradePVS) prepare(ctx workflow.Context, queue string) error {
	for try := 1; u.injected == nil; try++ {
		if u.injecting { // and was cut off
			u.forget()
			u.injecting = false
		}
		disk, err := u.fill(ctx, queue)
		if err != nil {
			return err
		}
		u.injecting = true
		var injected inject.Injected
		err = workflow.ExecuteActivity(once(composing(ctx, queue, "put the installer into "+u.task.Input)), ce.Inject, u.whole, u.admitted.Approval, disk).Get(ctx, &injected)
		if err == nil {
			u.injected = &injected
			break
		}
		if ctx.Err() != nil || try == maxCopies || !worthACopy(ctx, err) {
			return err
		}
	}
	return nil
}

// changeSilentInject is the version of jobs that copy again when an injection fell
// silent: 1. Those of releases before have failed.
const changeSilentInject = "silentInject"

// worthACopy reports whether what made an injection fail may be over at the next
// try. An agent that fell silent may have been out of reach for a moment; one that
// did not even begin is lost.
func worthACopy(ctx workflow.Context, err error) bool {
	if t, ok := errors.AsType[*temporal.TimeoutError](err); ok {
		return t.TimeoutType() == enums.TIMEOUT_TYPE_HEARTBEAT && workflow.GetVersion(ctx, changeSilentInject, workflow.DefaultVersion, 1) == 1
	}
	return durable.FromFailure(err).Code.Transient()
}

// boot switches the CE off, starts the copy, and waits until that is off.
func (u *upgradePVS) boot(ctx workflow.Context) error {
	if err := u.enter(ctx, job.PhaseBoot); err != nil {
		return err
	}
	u.keepLog(ctx)
	if err := u.discardCE(ctx); err != nil { // it holds the disk
		return err
	}
	u.guests++
	in := activities.GuestInput{Target: u.target, CE: u.status.CE, Guest: u.admitted.Guest}
	name := fmt.Sprintf("guest %d of %s", u.guests, in.CE)
	if err := workflow.ExecuteActivity(creating(ctx, "start "+name), ctl.StartGuest, in).Get(ctx, nil); err != nil {
		return err
	}
	// The runner ends first: what it has to say is worth more than a picture.
	in.Until = workflow.Now(ctx).Add(u.whole.Timeout + min(u.whole.Timeout/2, maxStopping))
	var end activities.GuestEnd
	if err := workflow.ExecuteActivity(watching(ctx, "wait for "+name), ctl.WaitGuest, in).Get(ctx, &end); err != nil {
		return err
	}
	u.ended = end.Ended
	u.noteFault(ctx, name, end.Fault)
	if len(end.Screen) > 0 {
		u.status.Guest = &job.GuestReport{Screen: end.Screen}
	}
	return workflow.ExecuteActivity(cleaning(ctx, "remove "+name), ctl.RemoveGuest, in).Get(ctx, nil)
}

// complete judges what the guest did and, if that is right, makes the output of
// it.
func (u *upgradePVS) complete(ctx workflow.Context, queue string) error {
	disk, err := u.attach(ctx)
	if err != nil {
		return err
	}
	if err := u.enter(ctx, job.PhaseVerify); err != nil {
		return err
	}
	if err := u.judge(ctx, queue, disk); err != nil || u.outcome.Again {
		return err
	}
	if err := u.clean(ctx, queue, disk); err != nil {
		return err
	}
	if err := u.export(ctx, queue, disk); err != nil {
		return err
	}
	if err := u.enter(ctx, job.PhasePublish); err != nil {
		return err
	}
	return workflow.ExecuteActivity(composing(ctx, queue, "publish "+u.whole.Output), ce.PublishExport, u.whole, u.exported.Piece).Get(ctx, nil)
}

func (u *upgradePVS) judge(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if u.outcome != nil {
		return nil
	}
	var outcome upgrade.Outcome
	if err := workflow.ExecuteActivity(composing(ctx, queue, "judge what was installed"), ce.Judge, u.whole, u.admitted.Approval, disk, u.ended).Get(ctx, &outcome); err != nil {
		return err
	}
	if report := outcome.Guest; report.Log != "" || len(report.Logs) > 0 {
		if u.status.Guest != nil {
			report.Screen = u.status.Guest.Screen
		}
		u.status.Guest = &report
	}
	u.outcome = &outcome
	if outcome.Failure != nil {
		return outcome.Failure
	}
	u.warn(outcome.Warnings...)
	return nil
}

func (u *upgradePVS) clean(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if u.cleaned {
		return nil
	}
	err := workflow.ExecuteActivity(composing(ctx, queue, "take the installer out of the copy"), ce.Clean, u.admitted.Approval, disk, u.injected.Undo).Get(ctx, &u.removed)
	u.cleaned = err == nil
	return err
}

func (u *upgradePVS) export(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if u.exported != nil {
		return nil
	}
	var exported upgrade.Exported
	if err := workflow.ExecuteActivity(exporting(ctx, queue, "write "+u.whole.Output), ce.Export, u.whole, u.admitted.Approval, disk).Get(ctx, &exported); err != nil {
		return err
	}
	u.exported = &exported
	u.warn(exported.Warnings...)
	return nil
}

// finish keeps or takes back what the job made on the share.
func (u *upgradePVS) finish(ctx workflow.Context, keep bool) error {
	summary := "keep " + u.whole.Output
	if !keep {
		summary = "remove what the job made"
	}
	var piece *publish.Piece
	if u.exported != nil {
		piece = &u.exported.Piece
	}
	in := activities.FinishUpgradeInput{Task: u.whole, Approval: u.admitted.Approval, Piece: piece, Keep: keep}
	return workflow.ExecuteActivity(cleaning(ctx, summary), ctl.FinishUpgrade, in).Get(ctx, nil)
}

func (u *upgradePVS) result() *job.Result {
	res := u.admitted.Preview
	res.Warnings = u.status.Warnings
	if up := *res.Upgrade; !up.Skipped { // what it would make is what it makes
		res.Output, res.OutputFile = u.status.Output, u.whole.Output
	}
	res.CompositingEngines = u.ces - u.guests // it was switched off for each guest
	if c := u.copied; c != nil {
		res.BytesRead, res.ResumedBytes = c.BytesRead, c.ResumedBytes
	}
	if e := u.exported; e != nil {
		res.SizeBytes, res.VirtualSizeBytes = e.SizeBytes, e.VirtualSizeBytes
		res.CRC32C, res.SHA256, res.ID = e.CRC32C, e.SHA256, e.ID
		res.BytesRead += e.BytesRead
		res.BytesWritten, res.VerifiedBytes = e.BytesWritten, e.VerifiedBytes
	}
	if o := u.outcome; o != nil && o.Failure == nil && !o.Again {
		up := *res.Upgrade
		up.To, up.Boots, up.Guests, up.Steps = o.Version, o.Boots, u.guests, slices.Clone(o.Steps)
		up.Removed = u.removed
		res.Upgrade, res.PVSTarget = &up, o.Version
	}
	return &res
}
