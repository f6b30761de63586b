package convert

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/engine/diskimage"
	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// blockSize is that of the differencing disk. Changes are scattered over the
// disk, and each one costs a block, so it is the smallest that VHDX has; but the
// allocation table has 8 bytes for every block of the disk, changed or not.
func blockSize(diskBytes int64) uint32 {
	if diskBytes > 512<<30 {
		return 2 << 20
	}
	return 1 << 20
}

// Compose plans the task again on the same image, applies the plan to an
// overlay and writes that as a differencing disk under a partial name that
// attempt makes unique. report is told the progress. Partial files of earlier
// attempts are removed.
func Compose(ctx context.Context, store share.Store, t Task, a Approval, attempt string, report func(job.Progress)) (Composed, error) {
	report(job.Progress{Step: "inspect " + t.Input})
	// What cannot be removed, because a Compositing Engine that was lost still
	// has it open on the server, is not in the way.
	_ = publish.RemovePartials(ctx, store, t.names())
	im, err := openImage(ctx, store, t)
	if err != nil {
		return Composed{}, err
	}
	defer im.Close()
	if err := im.Same(a.Source); err != nil {
		return Composed{}, err
	}
	inspected, plan, err := im.plan(ctx, t)
	if err != nil {
		return Composed{}, err
	}
	if plan.Digest() != a.PlanDigest {
		return Composed{}, job.Errorf(job.SourceChanged, "Start the job again while nobody writes to the image", "%s gives another plan than in preflight, although its size and modification time are the same", t.Input)
	}
	changes := overlay.New(im.Chain)
	err = inspected.Apply(ctx, plan, changes, shrinker{}, func(step string, done, total int64) {
		report(job.Progress{Step: step, DoneBytes: done, TotalBytes: total})
	})
	if err != nil {
		return Composed{}, job.At(t.Input, diskimage.Coded(err))
	}
	if err := changes.DropUnchanged(); err != nil {
		return Composed{}, job.At(t.Input, err)
	}

	out := output{task: t, partial: t.names().Partial(attempt), id: uuid.NewSHA1(im.seed(t), []byte("data write"))}
	if err := out.write(ctx, store, im, changes, report); err != nil {
		return Composed{}, err
	}
	verification, err := out.verify(ctx, store, im, plan, changes, report)
	if err != nil {
		return Composed{}, job.At(out.partial, err)
	}
	if err := im.Untouched(ctx); err != nil {
		return Composed{}, err
	}
	written, err := source.Stat(ctx, store, out.partial)
	if err != nil {
		return Composed{}, err
	}
	if written == nil || written.SizeBytes != out.size {
		return Composed{}, job.Errorf(job.VerifyFailed, "Start the job again", "%s has changed since it was verified", out.partial)
	}
	result := im.describe(t, a.Version, plan)
	result.SizeBytes, result.SHA256, result.ID = out.size, out.sha256, out.id.String()
	result.ChangedBytes = changes.DirtyBytes()
	result.Verification = &verification
	result.BytesRead, result.BytesWritten = im.ReadBytes()+out.read.Load(), out.size
	composed := Composed{Result: result, Pieces: []Piece{{Name: t.Output, Partial: out.partial, File: *written, Existing: a.Existing}}}
	if a.Version != nil {
		pieces, err := a.Version.pieces(ctx, store, t, attempt, *written)
		if err != nil {
			return Composed{}, err
		}
		composed.Pieces = append(composed.Pieces, pieces...)
	}
	return composed, nil
}

// output is the differencing disk that Compose makes.
type output struct {
	task    Task
	partial string
	id      uuid.UUID // what children know it by
	size    int64
	sha256  string
	read    atomic.Int64 // from the share, when it was verified
}

// write serialises the changes, in the container of the image: a locator cannot
// link to another one.
func (o *output) write(ctx context.Context, store share.Store, im *image, changes *overlay.Overlay, report func(job.Progress)) error {
	f, err := store.CreateExcl(ctx, o.partial)
	if err != nil {
		return err
	}
	relative, absolute := `.\`+o.task.Input, o.task.path(o.task.Input)
	if absolute == o.task.Input {
		absolute = "" // a local folder has no path that Windows knows
	}
	progress := func(done, total int64) {
		report(job.Progress{Step: "write " + o.task.Output, DoneBytes: done, TotalBytes: total})
	}
	if parent := im.Top(); parent.VHDX != nil {
		o.size, err = vhdx.WriteChild(ctx, f, changes, vhdx.ChildOptions{
			Parent: *parent.VHDX, ParentRelative: relative, ParentAbsolute: absolute,
			BlockSize:     blockSize(im.Size()),
			FileWriteGUID: uuid.NewSHA1(o.id, []byte("file write")),
			DataWriteGUID: o.id,
			Creator:       "imageport",
		}, progress)
	} else {
		o.size, err = vhd.WriteChild(ctx, f, changes, vhd.ChildOptions{
			Parent: *parent.VHD, ParentRelative: relative, ParentAbsolute: absolute,
			BlockSize: blockSize(im.Size()),
			UniqueID:  o.id,
			Timestamp: parent.ModTime,
		}, progress)
	}
	return errors.Join(err, f.Close())
}
