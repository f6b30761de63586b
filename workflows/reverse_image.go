package workflows

import (
	"errors"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/disk/copier"
	"imageport/engine/reverse"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

// ReverseImage makes a native disk of the platform from a vDisk. Its input is
// the specification's JSON ("Reverse Imaging"), taken raw as ConvertToUEFI
// does. Failure types are the codes of package job.
func ReverseImage(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	j, err := begin(ctx, job.OpReverseImage)
	if err != nil {
		return nil, err
	}
	req, warnings, err := job.Parse[job.ReverseImage](body.Payload().GetData())
	if err != nil {
		return j.end(ctx, nil, err)
	}
	if err := j.admit(ctx, &req.Request, req.OutputDiskName, req.OutputID(), warnings); err != nil {
		return j.end(ctx, nil, err)
	}
	r := &reverseImage{lifecycle: j, req: req, task: reverse.Task{
		Job:        j.status.JobID,
		Key:        j.key,
		Storage:    req.InputStorageLocation,
		Input:      req.InputFile(),
		Format:     req.InputImageFormat,
		SizeMB:     int64(req.OutputSizeMB),
		IgnoreLock: req.IgnoreLock,
		FixUps:     req.FixUps,
		Verify:     req.Verify,
		Platform:   req.Platform,
	}}
	res, err := r.run(ctx)
	return j.end(ctx, res, err)
}

// reverseImage is one job: what it is to do, and how far it has come.
type reverseImage struct {
	*lifecycle
	req      job.ReverseImage
	task     reverse.Task
	admitted reverse.Admitted
	state    *copier.State // of the copy, as far as is known
	copied   *reverse.Copied
	vm       string
}

func (r *reverseImage) run(ctx workflow.Context) (res *job.Result, err error) {
	if err := r.preflight(ctx); err != nil {
		return nil, orCanceled(ctx, err) // nothing was made yet
	}
	if r.req.DryRun {
		preview := r.result()
		preview.DryRun = true
		return &preview, nil
	}
	defer func() { // armed before the first CE: an attempt that failed may have made one
		if err = r.tearDown(ctx, err, r.makeVM); err != nil {
			res = nil
			return
		}
		result := r.result()
		res = &result
	}()
	err = r.onCE(ctx, func(ctx workflow.Context, queue string) error {
		disk, err := r.attach(ctx)
		if err != nil {
			return err
		}
		if err := r.copy(ctx, queue, disk); err != nil {
			return err
		}
		return r.fixUp(ctx, queue, disk)
	})
	if err != nil {
		return nil, err
	}
	return nil, r.keep(ctx)
}

func (r *reverseImage) preflight(ctx workflow.Context) error {
	in := activities.PreflightReverseInput{Target: r.target, Task: r.task, Disk: r.disk(), OutputID: r.req.OutputID(), VM: r.req.VM()}
	if err := workflow.ExecuteActivity(checking(ctx, "check "+r.task.Input), ctl.PreflightReverse, in).Get(ctx, &r.admitted); err != nil {
		return err
	}
	for _, w := range r.admitted.Preview.Warnings {
		r.warn(w)
	}
	return nil
}

// disk is the output disk, as it is ordered.
func (r *reverseImage) disk() platforms.OutputDisk {
	return platforms.OutputDisk{Name: r.req.OutputDiskName, SizeBytes: r.admitted.Approval.SizeBytes, Firmware: r.admitted.Preview.Firmware, Provision: r.req.ProvisionType}
}

// attach gives the running CE the output disk, which it may have already.
func (r *reverseImage) attach(ctx workflow.Context) (reverse.DiskRef, error) {
	r.holds = true
	var ref platforms.OutputDiskRef
	in := activities.OutputDiskInput{Target: r.target, CE: r.status.CE, Disk: r.disk()}
	err := workflow.ExecuteActivity(creating(ctx, "attach "+r.req.OutputDiskName), ctl.AddOutputDisk, in).Get(ctx, &ref)
	return reverse.DiskRef{Selector: ref.Selector}, err
}

// copy fills the disk, from where an earlier CE has left off.
func (r *reverseImage) copy(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if err := r.enter(ctx, job.PhaseCompose); err != nil {
		return err
	}
	for r.copied == nil {
		var copied reverse.Copied
		err := workflow.ExecuteActivity(copying(ctx, queue, "copy "+r.task.Input), ce.Copy, r.task, r.admitted.Approval, disk, r.state).Get(ctx, &copied)
		if err == nil {
			r.copied = &copied
			break
		}
		silent := errors.As(err, new(*temporal.TimeoutError))
		if further := r.noteState(err); !silent || !further || durable.NotStarted(err) || ctx.Err() != nil {
			return err
		}
		// The CE is there, and was out of reach for a while.
	}
	return nil
}

// noteState takes what a copy had synced from its failure, and reports whether
// that is more than ever. It may be less: on another disk it begins anew.
func (r *reverseImage) noteState(err error) bool {
	var state copier.State
	if !durable.LastCheckpoint(err, &state) {
		return false
	}
	r.state = &state
	if state.DoneBytes() <= r.done {
		return false
	}
	r.done = state.DoneBytes()
	return true
}

// fixUp makes the copy start from a disk of the platform. The plan is a function
// of the image: to apply it again changes nothing.
func (r *reverseImage) fixUp(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if len(r.admitted.Preview.FixUps) == 0 {
		return nil
	}
	return workflow.ExecuteActivity(composing(ctx, queue, "fix up "+r.req.OutputDiskName), ce.FixUp, r.task, r.admitted.Approval, disk).Get(ctx, nil)
}

// keep gives the disk its name. From here on the job cannot be cancelled: what
// it has made may be in use.
func (r *reverseImage) keep(ctx workflow.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if err := r.enter(dctx, job.PhasePublish); err != nil {
		return err
	}
	in := activities.OutputDiskInput{Target: r.target, CE: r.status.CE, Disk: r.disk()}
	err := workflow.ExecuteActivity(cleaning(dctx, "keep "+r.req.OutputDiskName), ctl.KeepOutputDisk, in).Get(dctx, nil)
	r.decided = err == nil
	return err
}

// makeVM leaves a VM around the disk that was kept, if the request asks for one.
// That it could not be made is a warning: the disk is there, and may stay.
func (r *reverseImage) makeVM(ctx workflow.Context, keep bool) error {
	if !keep || r.req.VM() == "" {
		return nil
	}
	in := activities.MakeOutputVMInput{Target: r.target, Name: r.req.VM(), Disk: r.req.OutputDiskName, Task: r.task, Admitted: r.admitted}
	if err := workflow.ExecuteActivity(creating(ctx, "make VM "+in.Name), ctl.MakeOutputVM, in).Get(ctx, &r.vm); err != nil {
		r.warn("the disk is complete, but there is no VM around it: " + durable.FromFailure(err).Error())
	}
	return nil
}

func (r *reverseImage) result() job.Result {
	res := r.admitted.Preview
	res.Output = r.req.OutputDiskName
	res.VM = r.vm
	res.CompositingEngines = r.ces
	res.Warnings = r.status.Warnings
	if c := r.copied; c != nil {
		res.CRC32C, res.BytesRead, res.BytesWritten = c.CRC32C, c.BytesRead, c.BytesWritten
		res.ResumedBytes, res.VerifiedBytes = c.ResumedBytes, c.VerifiedBytes
	}
	return res
}
