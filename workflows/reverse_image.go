package workflows

import (
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/reverse"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

// ReverseImage makes a native disk of the platform from a vDisk. Its input is
// the specification's JSON ("Reverse Imaging"), taken raw as ConvertToUEFI
// does. Failure types are the codes of package job.
func ReverseImage(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	return perform(ctx, job.OpReverseImage, func(j *lifecycle) (*job.Result, error) {
		req, warnings, err := job.Parse[job.ReverseImage](body.Payload().GetData())
		if err != nil {
			return nil, err
		}
		if err := j.admit(ctx, &req.Request, req.OutputDiskName, req.OutputID(), warnings); err != nil {
			return nil, err
		}
		r := &reverseImage{req: req, diskCopy: diskCopy{lifecycle: j, task: j.copyTask(&req.Request, req.OutputSizeMB)}}
		r.task.IgnoreLock, r.task.FixUps, r.task.Verify = req.IgnoreLock, req.FixUps, req.Verify
		return r.run(ctx)
	})
}

// reverseImage is one job: what it is to do, and how far it has come.
type reverseImage struct {
	diskCopy
	req      job.ReverseImage
	admitted reverse.Admitted
	vm       string
}

func (r *reverseImage) run(ctx workflow.Context) (*job.Result, error) {
	if err := r.preflight(ctx); err != nil {
		return nil, orCanceled(ctx, err) // nothing was made yet
	}
	if r.req.DryRun {
		preview := r.result()
		preview.DryRun = true
		return preview, nil
	}
	if err := r.tearDown(ctx, r.make(ctx), r.makeVM); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// make fills the disk, and gives it its name.
func (r *reverseImage) make(ctx workflow.Context) error {
	err := r.onCE(ctx, func(ctx workflow.Context, queue string) error {
		_, err := r.fill(ctx, queue)
		return err
	})
	if err != nil {
		return err
	}
	return r.keep(ctx)
}

func (r *reverseImage) preflight(ctx workflow.Context) error {
	r.disk = platforms.OutputDisk{Name: r.req.OutputDiskName, Provision: r.req.ProvisionType}
	in := activities.PreflightReverseInput{Target: r.target, Task: r.task, Disk: r.disk, OutputID: r.req.OutputID(), VM: r.req.VM()}
	if err := workflow.ExecuteActivity(checking(ctx, "check "+r.task.Input), ctl.PreflightReverse, in).Get(ctx, &r.admitted); err != nil {
		return err
	}
	r.approval, r.fixUps = r.admitted.Approval, len(r.admitted.Preview.FixUps) > 0
	r.disk.SizeBytes, r.disk.Firmware = r.approval.SizeBytes, r.admitted.Preview.Firmware
	r.warn(r.admitted.Preview.Warnings...)
	return nil
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
	in := activities.OutputDiskInput{Target: r.target, CE: r.status.CE, Disk: r.disk}
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

func (r *reverseImage) result() *job.Result {
	res := r.admitted.Preview
	res.Output = r.req.OutputDiskName
	res.VM = r.vm
	res.CompositingEngines = r.ces
	res.Warnings = r.status.Warnings
	if c := r.copied; c != nil {
		res.CRC32C, res.BytesRead, res.BytesWritten = c.CRC32C, c.BytesRead, c.BytesWritten
		res.ResumedBytes, res.VerifiedBytes = c.ResumedBytes, c.VerifiedBytes
	}
	return &res
}
