package convert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync/atomic"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhdx"
	"imageport/engine/share"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

// blockSize of the differencing disk: the smallest that VHDX has, because the
// changes are scattered over the disk, and each one costs a block.
const blockSize = 1 << 20

// Compose plans the task again on the same image, applies the plan to an
// overlay and writes that as a differencing disk under a partial name that
// attempt makes unique. report is told the progress. Partial files of earlier
// attempts are removed.
func Compose(ctx context.Context, store share.Store, t Task, a Approval, attempt string, report func(job.Progress)) (Composed, error) {
	report(job.Progress{Step: "inspect " + t.Input})
	// What cannot be removed, because a Compositing Engine that was lost still
	// has it open on the server, is not in the way.
	_ = removePartials(ctx, store, t)
	im, err := openImage(ctx, store, t)
	if err != nil {
		return Composed{}, err
	}
	defer im.Close()
	if im.id != a.Source || im.info.DataWriteGUID != a.DataWriteGUID {
		return Composed{}, changed(t, a.Source, im.id)
	}
	inspected, plan, err := im.plan(t)
	if err != nil {
		return Composed{}, err
	}
	if plan.Digest() != a.PlanDigest {
		return Composed{}, job.Errorf(job.SourceChanged, "Start the job again while nobody writes to the image", "%s gives another plan than in preflight, although its size and modification time are the same", t.Input)
	}
	changes := overlay.New(im.disk)
	err = inspected.Apply(ctx, plan, changes, func(done, total int64) {
		report(job.Progress{Step: "read boot files", DoneBytes: done, TotalBytes: total})
	})
	if err != nil {
		return Composed{}, job.At(t.Input, diskError(err))
	}
	if err := changes.DropUnchanged(); err != nil {
		return Composed{}, job.At(t.Input, err)
	}

	out := output{task: t, partial: t.partialPrefix() + attempt + ".partial", guid: uuid.NewSHA1(im.seed(t), []byte("data write"))}
	if err := out.write(ctx, store, im, changes, report); err != nil {
		return Composed{}, err
	}
	if err := out.verify(ctx, store, im, inspected, plan, report); err != nil {
		return Composed{}, job.At(out.partial, err)
	}
	if now, err := stat(ctx, store, t.Input); err != nil {
		return Composed{}, err
	} else if now == nil || *now != a.Source {
		return Composed{}, changed(t, a.Source, im.id)
	}
	written, err := stat(ctx, store, out.partial)
	if err != nil {
		return Composed{}, err
	}
	if written == nil || written.SizeBytes != out.size {
		return Composed{}, job.Errorf(job.VerifyFailed, "Start the job again", "%s has changed since it was verified", out.partial)
	}
	return Composed{Partial: out.partial, File: *written, Result: out.result(im, plan, changes)}, nil
}

func changed(t Task, was, is FileID) error {
	return job.Errorf(job.SourceChanged, "Start the job again while nobody writes to the image",
		"%s changed while the job ran: preflight saw %d bytes of %s, now it has %d bytes of %s", t.Input, was.SizeBytes, was.Modified, is.SizeBytes, is.Modified)
}

// output is the differencing disk that Compose makes.
type output struct {
	task    Task
	partial string
	guid    uuid.UUID // DataWriteGuid
	size    int64
	sha256  string
	read    atomic.Int64 // from the share, when it was verified
}

// write serialises the changes.
func (o *output) write(ctx context.Context, store share.Store, im *image, changes *overlay.Overlay, report func(job.Progress)) error {
	f, err := store.CreateExcl(ctx, o.partial)
	if err != nil {
		return err
	}
	folder, err := o.task.Storage.Folder()
	if err != nil {
		f.Close()
		return job.Errorf(job.BadRequest, "Correct the request", "inputStorageLocation: %w", err)
	}
	o.size, err = vhdx.WriteChild(ctx, f, changes, vhdx.ChildOptions{
		Parent:         im.info,
		ParentRelative: `.\` + o.task.Input,
		ParentAbsolute: folder.UNC(o.task.Input),
		BlockSize:      blockSize,
		FileWriteGUID:  uuid.NewSHA1(o.guid, []byte("file write")),
		DataWriteGUID:  o.guid,
		Creator:        "imageport",
	}, func(done, total int64) {
		report(job.Progress{Step: "write " + o.task.Output, DoneBytes: done, TotalBytes: total})
	})
	return errors.Join(err, f.Close())
}

// verify reads the file back through handles of its own: its checksum, its
// link to the parent, and what a guest would see.
func (o *output) verify(ctx context.Context, store share.Store, im *image, inspected *bootconv.Image, plan *bootconv.Plan, report func(job.Progress)) error {
	report(job.Progress{Step: "verify " + o.task.Output, TotalBytes: o.size})
	f, err := store.Open(ctx, o.partial)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Size() != o.size {
		return job.Errorf(job.VerifyFailed, "Start the job again", "the file has %d bytes, %d were written", f.Size(), o.size)
	}
	written := cached(counter{f, &o.read})
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, &progressReader{io.NewSectionReader(written, 0, o.size), func(done int64) {
		report(job.Progress{Step: "verify " + o.task.Output, DoneBytes: done, TotalBytes: o.size})
	}, 0}, make([]byte, 1<<20)); err != nil {
		return err
	}
	o.sha256 = hex.EncodeToString(sum.Sum(nil))
	child, err := vhdx.Open(written, o.size)
	if err != nil {
		return job.Errorf(job.VerifyFailed, "Start the job again", "%w", err)
	}
	if child.Info().DataWriteGUID != o.guid {
		return job.Errorf(job.VerifyFailed, "Start the job again", "its DataWriteGuid is %s instead of %s", child.Info().DataWriteGUID, o.guid)
	}
	if err := vhdx.VerifyParent(child.Info(), im.info); err != nil {
		return job.Errorf(job.VerifyFailed, "Start the job again", "%w", err)
	}
	merged, err := child.Disk(im.disk)
	if err != nil {
		return job.Errorf(job.VerifyFailed, "Start the job again", "%w", err)
	}
	return inspected.Verify(ctx, plan, merged)
}

func (o *output) result(im *image, plan *bootconv.Plan, changes *overlay.Overlay) job.Result {
	folder, _ := o.task.Storage.Folder() // write has checked it
	r := job.Result{
		Output:           folder.UNC(o.task.Output),
		OutputFile:       o.task.Output,
		SizeBytes:        o.size,
		SHA256:           o.sha256,
		VirtualSizeBytes: im.disk.Size(),
		ChangedBytes:     changes.DirtyBytes(),
		DataWriteGUID:    o.guid.String(),
		Parent:           job.Parent{File: o.task.Input, SizeBytes: im.id.SizeBytes, Modified: im.id.Modified, DataWriteGUID: im.info.DataWriteGUID.String()},
		DiskGUID:         plan.DiskGUID().String(),
		ESPPlacement:     string(plan.ESP.Placement),
		WindowsProduct:   plan.Windows.Product,
		WindowsBuild:     plan.Windows.Build,
		BytesRead:        im.read.Load() + o.read.Load(),
		BytesWritten:     o.size,
	}
	for _, e := range plan.After.Entries {
		sector := int64(plan.After.SectorSize)
		r.Partitions = append(r.Partitions, job.Partition{
			Number: e.Index + 1, Name: e.Name, Type: e.Type.String(), ID: e.ID.String(),
			StartBytes: int64(e.FirstLBA) * sector, SizeBytes: int64(e.Sectors()) * sector,
		})
	}
	return r
}

// removePartials deletes the partial files of this job, as far as it can.
func removePartials(ctx context.Context, store share.Store, t Task) error {
	files, err := store.List(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, f := range files {
		if !t.isPartial(f.Name) {
			continue
		}
		if err := ignoreNotExist(store.Remove(ctx, f.Name)); err != nil {
			failed = err
		}
	}
	return failed
}

// progressReader tells how much was read.
type progressReader struct {
	r      io.Reader
	report func(done int64)
	done   int64
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.done += int64(n)
	p.report(p.done)
	return n, err
}
