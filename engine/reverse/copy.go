package reverse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Copy brings the contents of the approved image to the disk, and verifies
// them. With the state of an earlier try it goes on from there, if the disk is
// the one that it wrote to. report is told the progress, and checkpoint what is
// synced, at least every 64 MiB or second of work; both are called by one
// goroutine at a time.
//
// An image that is not the approved one is job.SourceChanged, a disk that does
// not read as it was written job.VerifyFailed.
func Copy(ctx context.Context, store share.Store, t Task, a Approval, d Disk, resume *copier.State, report func(job.Progress), checkpoint func(copier.State)) (Copied, error) {
	return copyAt(ctx, time.Now, store, t, a, d, resume, report, checkpoint)
}

// copyAt is Copy by a clock.
func copyAt(ctx context.Context, now func() time.Time, store share.Store, t Task, a Approval, d Disk, resume *copier.State, report func(job.Progress), checkpoint func(copier.State)) (Copied, error) {
	im, err := t.reopen(ctx, store, a, source.Streamed)
	if err != nil {
		return Copied{}, err
	}
	defer im.Close()
	to, err := newTarget(d, a)
	if err != nil {
		return Copied{}, err
	}
	contents, err := a.contents(ctx, im)
	if err != nil {
		return Copied{}, job.At(t.Input, err)
	}
	c := &copying{store: store, task: t, approval: a, image: im, src: contents, dst: to, now: now, report: report, checkpoint: checkpoint}
	copied, err := c.run(ctx, resume)
	if err == nil {
		err = im.Untouched(ctx)
	}
	if err != nil {
		return Copied{}, c.cause(ctx, err)
	}
	return copied, nil
}

// copying is one call of Copy.
type copying struct {
	store      share.Store
	task       Task
	approval   Approval
	image      *source.Image
	src        disk.Mapped // what is to be copied of the image
	dst        *target
	now        func() time.Time
	report     func(job.Progress)
	checkpoint func(copier.State)
	// readAgain is what was read of the share by another handle of the image.
	readAgain int64
}

// run copies and verifies. What was resumed and turns out wrong is copied once
// more, from the beginning: the disk was not what the samples said, or the state
// is another release's.
func (c *copying) run(ctx context.Context, resume *copier.State) (Copied, error) {
	from, err := c.start(ctx, resume)
	if err != nil {
		return Copied{}, err
	}
	copied, err := c.try(ctx, from)
	wrong := job.CodeOf(err) == job.VerifyFailed || errors.Is(err, copier.ErrState)
	if from.state == nil || !wrong || ctx.Err() != nil {
		return copied, err
	}
	if err := c.image.Untouched(ctx); err != nil {
		return Copied{}, err
	}
	return c.try(ctx, start{})
}

// start is from where a copy goes.
type start struct {
	state *copier.State // nil: from the beginning
	// empty says that the disk reads as zeros but for what this copy wrote.
	empty bool
}

// start finds out what an earlier try has left on the disk.
func (c *copying) start(ctx context.Context, resume *copier.State) (start, error) {
	if resume != nil && resume.SizeBytes == c.src.Size() && resume.DoneBytes() > 0 {
		for _, empty := range []bool{true, false} {
			if resume.Source != c.identity(empty) {
				continue
			}
			// Where samples say nothing, the disk has nothing to go on from.
			if found, err := sampled(ctx, c.src, c.dst, doneSpans(*resume), nil); err != nil {
				return start{}, diskimage.Coded(err)
			} else if found == holds {
				return start{resume, empty}, nil
			}
		}
	}
	empty, err := blank(ctx, c.src, c.dst, c.dst.size)
	return start{nil, empty}, diskimage.Coded(err)
}

// identity names the copy in its states: of these files, to a disk that was
// empty, or to one that has to be zeroed.
func (c *copying) identity(empty bool) string {
	if empty {
		return c.approval.identity()
	}
	return c.approval.identity() + " zeroing"
}

// try copies what the state leaves to do, and verifies the disk.
func (c *copying) try(ctx context.Context, from start) (Copied, error) {
	p := newPace(c.dst, c.now, c.checkpoint)
	done, err := copier.Copy(ctx, p, inWindows{c.src}, copier.Options{
		TargetIsZero: from.empty, CRC: true,
		Source: c.identity(from.empty), Resume: from.state, Checkpoint: p.note, CheckpointEvery: stateStep,
		Progress: func(p copier.Progress) {
			c.report(job.Progress{Step: "copy", DoneBytes: p.DoneBytes, TotalBytes: p.TotalBytes})
		},
	})
	if err != nil {
		return Copied{}, diskimage.Coded(err)
	}
	if err := p.finish(); err != nil {
		return Copied{}, err
	}
	if err := c.dst.settle(); err != nil {
		return Copied{}, err
	}
	check := c.verifyData
	if c.task.Verify == job.VerifyFull {
		check = c.verifyAll
	}
	verified, err := check(ctx, done.CRC32C)
	if err != nil {
		return Copied{}, err
	}
	return Copied{
		CRC32C:        fmt.Sprintf("%08x", done.CRC32C),
		BytesRead:     c.image.ReadBytes() + c.readAgain,
		BytesWritten:  done.WrittenBytes,
		ResumedBytes:  done.ResumedBytes,
		VerifiedBytes: verified,
	}, nil
}

// cause gives the error of a copy, or that the image has changed, which all that
// is wrong with what was read from it comes from.
func (c *copying) cause(ctx context.Context, err error) error {
	switch job.CodeOf(err) {
	case job.VerifyFailed, job.DiskCorrupt, job.WrongFormat, "":
	default:
		return err
	}
	if ctx.Err() != nil {
		return err
	}
	if changed := c.image.Untouched(ctx); job.CodeOf(changed) == job.SourceChanged {
		return changed
	}
	return err
}
