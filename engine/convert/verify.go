package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/overlay"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/bootcheck"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

// verify reads the file back through handles of its own: its checksum, its
// link to the parent, every change, and what firmware and Windows would find on
// its disk.
func (o *output) verify(ctx context.Context, store share.Store, im *image, plan *bootconv.Plan, changes *overlay.Overlay, report func(job.Progress)) (job.Verification, error) {
	step := job.Progress{Step: "verify " + o.task.Output, TotalBytes: o.size}
	report(step)
	failed := func(err error) (job.Verification, error) {
		return job.Verification{}, job.Errorf(job.VerifyFailed, "Start the job again; if it fails again, report it", "%w", err)
	}
	c, err := diskimage.Open(ctx, diskimage.Input{Folder: source.Folder(store, source.Scattered, &o.read), Name: o.partial})
	switch code := job.CodeOf(err); {
	case code == job.DiskCorrupt, code == job.WrongFormat: // it was written wrongly
		return failed(fmt.Errorf("it cannot be opened: %w", err))
	case err != nil:
		return job.Verification{}, err
	}
	defer c.Close()
	layers := c.Layers()
	if top := layers[len(layers)-1]; top.FileSize != o.size || top.ID != o.id.String() {
		return failed(fmt.Errorf("it has %d bytes and the id %s; %d and %s were written", top.FileSize, top.ID, o.size, o.id))
	}
	if len(layers) != len(im.Files())+1 || layers[len(layers)-2].Name != im.Top().Name || layers[len(layers)-2].ID != im.Top().ID {
		return failed(fmt.Errorf("its parent is %s, not %s", layers[max(0, len(layers)-2)].Name, im.Top().Name))
	}
	if link := linkOf(layers[len(layers)-1]); link != `.\`+o.task.Input { // by which it is found in any folder
		return failed(fmt.Errorf("it names its parent %q, not %s", link, o.task.Input))
	}
	f, err := store.Open(ctx, o.partial)
	if err != nil {
		return job.Verification{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, &progressReader{io.NewSectionReader(source.Counted(f, &o.read), 0, o.size), func(done int64) {
		step.DoneBytes = done
		report(step)
	}, 0}, make([]byte, 1<<20)); err != nil {
		return job.Verification{}, err
	}
	o.sha256 = hex.EncodeToString(sum.Sum(nil))
	if err := compare(ctx, c, changes); errors.Is(err, errDiffers) {
		return failed(err)
	} else if err != nil {
		return job.Verification{}, diskimage.Coded(err)
	}
	found, err := bootcheck.Check(ctx, c, plan.Expected())
	if errors.Is(err, bootcheck.ErrWrong) {
		return failed(err)
	}
	return found, diskimage.Coded(err)
}

// linkOf is the path from an image's folder to its parent; "" if it has none.
func linkOf(l chain.Layer) string {
	switch {
	case l.VHDX != nil && l.VHDX.Parent != nil:
		return l.VHDX.Parent.RelativePath
	case l.VHD != nil && l.VHD.Parent != nil:
		return l.VHD.Parent.RelativePath
	}
	return ""
}

// errDiffers says that the output does not read as it was written.
var errDiffers = errors.New("it differs from what was written")

// compare reads every change back: also data that shrinking has moved, which
// nothing else looks at.
func compare(ctx context.Context, d io.ReaderAt, changes *overlay.Overlay) error {
	page := make([]byte, overlay.PageSize)
	for p := range changes.Pages() {
		if err := ctx.Err(); err != nil {
			return err
		}
		got := page[:len(p.Data)]
		if n, err := d.ReadAt(got, p.Offset); n < len(got) {
			return fmt.Errorf("reading %d bytes at offset %d back: %w", len(got), p.Offset, err)
		}
		if !bytes.Equal(got, p.Data) {
			return fmt.Errorf("%w: the %d bytes at offset %d of the disk", errDiffers, len(got), p.Offset)
		}
	}
	return nil
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
