package diskimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// DefaultMaxChangedBytes is how much of a disk a differencing image may change
// by default: what is kept in memory until it is written.
const DefaultMaxChangedBytes = 4 << 30

// top is the image itself, the last file of a chain.
func top(c *chain.Chain) chain.Layer {
	layers := c.Layers()
	return layers[len(layers)-1]
}

// validateChild checks that the output can be a differencing image of its
// parent with a disk of that shape, and completes its format.
func (o *Output) validateChild(size int64, sector int) error {
	parent := top(o.Parent)
	bad := func(remedy, format string, args ...any) error {
		return job.Errorf(job.BadRequest, remedy, format, args...)
	}
	switch {
	case parent.Container == chain.Raw:
		return bad("Convert the parent to VHDX or VHD first", "%s is a raw disk, which cannot have differencing images", parent.Name)
	case o.Format.Container != parent.Container:
		return bad(fmt.Sprintf("Make a %s", parent.Container), "a differencing %s cannot have the %s %s as its parent", o.Format.Container, parent.Container, parent.Name)
	case o.Format.Type != "" && o.Format.Type != vhdx.Differencing.String():
		return bad("Leave out the type or the parent", "an image with a parent is differencing, not %s", o.Format.Type)
	case size != parent.VirtualSize || sector != parent.LogicalSectorSize:
		return job.Errorf(job.UnsupportedDisk, "Convert it to an image without a parent",
			"the disk has %d bytes in sectors of %d and that of the parent %s has %d in sectors of %d; both must be the same",
			size, sector, parent.Name, parent.VirtualSize, parent.LogicalSectorSize)
	}
	least := int64(1 << 20)
	if parent.Container == chain.VHD {
		least = 512 << 10
	}
	if n := o.Format.BlockBytes; n != 0 && (n < least || n > maxBlockBytes || n&(n-1) != 0) {
		return badBlocks(n)
	}
	for _, l := range o.Parent.Layers() {
		if l.VHDX != nil && l.VHDX.DirtyLog {
			return job.Errorf(job.DiskDirtyLog, "Mount it once on Windows (Mount-VHD) and dismount it",
				"the log of the parent's file %s is not empty: who replays it changes what the new image builds on", l.Name)
		}
	}
	o.Format.Type = vhdx.Differencing.String()
	return nil
}

// admitParent refuses a parent that the output would not find: its path is
// relative, and so the parent's file must be in the output's folder.
func (o *Output) admitParent(ctx context.Context) error {
	parent := top(o.Parent)
	const remedy = "Write the output into the folder of its parent"
	there, err := o.Store.Stat(ctx, parent.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return job.Errorf(job.BadRequest, remedy, "the parent %s is not in the folder of the output, which will look for it beside itself", parent.Name)
	}
	if err != nil {
		return err
	}
	if there.Size != parent.FileSize || !sameTime(there.ModTime, parent.ModTime) {
		return job.Errorf(job.BadRequest, remedy, "the file %s in the folder of the output is not the parent that was given, but the output will look for its parent beside itself: "+
			"it has %d bytes of %s, the parent has %d of %s", parent.Name, there.Size, there.ModTime.UTC(), parent.FileSize, parent.ModTime.UTC())
	}
	return nil
}

// childWriter writes a differencing image: what differs from the parent's disk
// goes to an overlay, and that to the file when everything is there.
type childWriter struct {
	ctx      context.Context // of Finish
	file     file
	out      *Output
	progress func(done, total int64)

	parent  *chain.Chain
	changed *overlay.Overlay
	most    int64 // of changed bytes
	buffers sync.Pool
}

var _ copier.ZeroRanger = (*childWriter)(nil)

func newChildWriter(ctx context.Context, f file, o *Output, progress func(done, total int64)) *childWriter {
	w := &childWriter{ctx: ctx, file: f, out: o, progress: progress, parent: o.Parent, changed: overlay.New(o.Parent), most: o.MaxChangedBytes}
	if w.most == 0 {
		w.most = DefaultMaxChangedBytes
	}
	w.buffers.New = func() any { b := make([]byte, compareBytes); return &b }
	return w
}

// compareBytes is how much of the parent is read at a time.
const compareBytes = copier.DefaultUnitSize

// WriteAt keeps the pages of p that differ from the parent's.
func (w *childWriter) WriteAt(p []byte, off int64) (int, error) {
	buf, _ := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buf)
	for done := 0; done < len(p); {
		part := p[done:min(len(p), done+compareBytes)]
		old := (*buf)[:len(part)]
		if err := readFull(w.parent, old, off+int64(done)); err != nil {
			return done, err
		}
		if err := w.keep(part, old, off+int64(done)); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

// keep puts the stretches of p that differ from old into the overlay.
func (w *childWriter) keep(p, old []byte, off int64) error {
	same := func(at int) bool {
		end := min(at+overlay.PageSize, len(p))
		return bytes.Equal(p[at:end], old[at:end])
	}
	for at := 0; at < len(p); at += overlay.PageSize {
		if same(at) {
			continue
		}
		first := at
		for at < len(p) && !same(at) {
			at += overlay.PageSize
		}
		if _, err := w.changed.WriteAt(p[first:min(at, len(p))], off+int64(first)); err != nil {
			return err
		}
	}
	if n := w.changed.DirtyBytes(); n > w.most {
		return job.Errorf(job.UnsupportedDisk, "Convert to an image without a parent",
			"more than %d bytes differ from the parent %s, which is too much for a differencing image", w.most, top(w.parent).Name)
	}
	return nil
}

var zeroBytes [compareBytes]byte

// ZeroRange keeps the pages of a range of zeros that are not zeros in the
// parent. Only what the parent stores is read.
func (w *childWriter) ZeroRange(off, n int64) error {
	// Extents come in sectors; the copier's ranges are.
	for e, err := range w.parent.Extents(off, n) {
		if err != nil {
			return err
		}
		if e.Kind == disk.ExtentZero {
			continue
		}
		for at, end := e.Offset, e.Offset+e.Length; at < end; {
			part := min(end-at, compareBytes)
			if _, err := w.WriteAt(zeroBytes[:part], at); err != nil {
				return err
			}
			at += part
		}
	}
	return nil
}

// Sync implements copier.Target: nothing is in the file before Finish.
func (w *childWriter) Sync() error { return nil }

// Finish writes the image, unless the parent has changed meanwhile.
func (w *childWriter) Finish() (int64, error) {
	if err := w.parent.Unchanged(w.ctx); err != nil {
		return 0, err
	}
	id, parent := w.out.Identity, top(w.parent)
	relative := `.\` + parent.Name
	block := uint32(w.out.Format.BlockBytes)
	var size int64
	var err error
	if parent.VHDX != nil {
		size, err = vhdx.WriteChild(w.ctx, w.file, w.changed, vhdx.ChildOptions{
			Parent: *parent.VHDX, ParentRelative: relative, BlockSize: block,
			DataWriteGUID: id.ID, FileWriteGUID: id.fileWrite(), Creator: id.Creator,
		}, w.progress)
	} else {
		size, err = vhd.WriteChild(w.ctx, w.file, w.changed, vhd.ChildOptions{
			Parent: *parent.VHD, ParentRelative: relative, BlockSize: block,
			UniqueID: id.ID, Timestamp: id.Created,
		}, w.progress)
	}
	if err != nil {
		return 0, fmt.Errorf("differencing image of %s: %w", parent.Name, err)
	}
	return size, nil
}

// fileWrite is the file write GUID of a VHDX.
func (id Identity) fileWrite() uuid.UUID { return uuid.NewSHA1(id.ID, []byte("file write")) }
