package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/disk/copier"
	"imageport/engine/reverse"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

// diskCopy is a job that brings a vDisk to an output disk of its CE: what it is to
// do, and how far it has come.
type diskCopy struct {
	*lifecycle
	task     reverse.Task
	approval reverse.Approval
	disk     platforms.OutputDisk // as it is ordered
	fixUps   bool                 // there are some

	state  *copier.State // of the copy, as far as is known
	copied *reverse.Copied
}

// copyTask is the copy that a request asks for.
func (j *lifecycle) copyTask(r *job.Request, size job.SizeMB) reverse.Task {
	return reverse.Task{
		Job:      j.status.JobID,
		Key:      j.key,
		Storage:  r.InputStorageLocation,
		Input:    r.InputFile(),
		Format:   r.InputImageFormat,
		SizeMB:   int64(size),
		Platform: r.Platform,
	}
}

// fill attaches the disk, copies the image to it and fixes it up.
func (c *diskCopy) fill(ctx workflow.Context, queue string) (reverse.DiskRef, error) {
	disk, err := c.attach(ctx)
	if err != nil {
		return disk, err
	}
	if err := c.copy(ctx, queue, disk); err != nil {
		return disk, err
	}
	return disk, c.fixUp(ctx, queue, disk)
}

// attach gives the running CE the disk, which it may have already.
func (c *diskCopy) attach(ctx workflow.Context) (reverse.DiskRef, error) {
	c.holds = true
	var ref platforms.OutputDiskRef
	in := activities.OutputDiskInput{Target: c.target, CE: c.status.CE, Disk: c.disk}
	err := workflow.ExecuteActivity(creating(ctx, "attach "+c.disk.Name), ctl.AddOutputDisk, in).Get(ctx, &ref)
	return reverse.DiskRef{Selector: ref.Selector}, err
}

// copy fills the disk, from where an earlier CE has left off.
func (c *diskCopy) copy(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if err := c.enter(ctx, job.PhaseCompose); err != nil {
		return err
	}
	for c.copied == nil {
		var copied reverse.Copied
		err := workflow.ExecuteActivity(copying(ctx, queue, "copy "+c.task.Input), ce.Copy, c.task, c.approval, disk, c.state).Get(ctx, &copied)
		if err == nil {
			c.copied = &copied
			break
		}
		silent := errors.As(err, new(*temporal.TimeoutError))
		if further := c.noteState(err); !silent || !further || durable.NotStarted(err) || ctx.Err() != nil {
			return err
		}
		// The CE is there, and was out of reach for a while.
	}
	return nil
}

// noteState takes what a copy had synced from its failure, and reports whether
// that is more than ever. It may be less: on another disk it begins anew.
func (c *diskCopy) noteState(err error) bool {
	var state copier.State
	if !durable.LastCheckpoint(err, &state) {
		return false
	}
	c.state = &state
	if state.DoneBytes() <= c.done {
		return false
	}
	c.done = state.DoneBytes()
	return true
}

// fixUp makes the copy start from a disk of the platform. The plan is a function
// of the image: to apply it again changes nothing.
func (c *diskCopy) fixUp(ctx workflow.Context, queue string, disk reverse.DiskRef) error {
	if !c.fixUps {
		return nil
	}
	return workflow.ExecuteActivity(composing(ctx, queue, "fix up "+c.disk.Name), ce.FixUp, c.task, c.approval, disk).Get(ctx, nil)
}

// forget lets the copy begin anew: the disk has been written to since.
func (c *diskCopy) forget() { c.copied, c.state, c.done = nil, nil, 0 }
