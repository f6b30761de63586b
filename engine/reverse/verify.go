package reverse

import (
	"context"
	"hash/crc32"
	"iter"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
	"imageport/engine/diskimage"
	"imageport/engine/source"
	"imageport/job"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// verifyFailed is for a disk that does not read as it was written.
func verifyFailed(format string, args ...any) error {
	return job.Errorf(job.VerifyFailed, "Start the job again; if it fails again, look at the storage that the platform has the disk on", format, args...)
}

// verifyData reads back what the image stores, and compares the checksum of the
// disk, with zeros for the rest. It gives the bytes that it read.
func (c *copying) verifyData(ctx context.Context, sum uint32) (int64, error) {
	view := written{c.dst, c.src}
	back, err := copier.Copy(ctx, nowhere{}, view, copier.Options{
		TargetIsZero: true, CRC: true,
		Progress: func(p copier.Progress) { c.verified(p.DoneBytes, p.TotalBytes) },
	})
	switch {
	case err != nil:
		return 0, diskimage.Coded(err)
	case back.CRC32C == sum:
		return back.ReadBytes, nil
	}
	// Where does it differ? The image is read again to find out.
	diff, err := diskimage.Diff(ctx, c.src, view, c.verified)
	switch {
	case err != nil:
		return 0, diskimage.Coded(err)
	case diff.FirstOffsetBytes == nil:
		return 0, verifyFailed("the disk has the CRC-32C %08x and the image had %08x when it was copied, but now the two are equal: something between the share and the disk gives other bytes each time", back.CRC32C, sum)
	}
	return 0, differs(*diff.FirstOffsetBytes, diff.DifferentBytes)
}

func differs(first, bytes int64) error {
	return verifyFailed("the disk differs from the image in %d bytes, from offset %d on", bytes, first)
}

// verifyAll compares all of the disk with the image, which it reads again, and
// the rest of the disk with zeros. It gives the bytes of the disk that it read.
func (c *copying) verifyAll(ctx context.Context, sum uint32) (int64, error) {
	im, err := c.task.reopen(ctx, c.store, c.approval, source.Streamed)
	if err != nil {
		return 0, err
	}
	defer func() {
		c.readAgain += im.ReadBytes()
		_ = im.Close()
	}()
	contents, err := c.approval.contents(ctx, im)
	if err != nil {
		return 0, err
	}
	all := &whole{target: c.dst, size: im.Size()}
	diff, err := diskimage.Diff(ctx, contents, all, func(done, _ int64) { c.verified(done, c.dst.size) })
	switch {
	case err != nil:
		return 0, diskimage.Coded(err)
	case diff.FirstOffsetBytes != nil:
		return 0, differs(*diff.FirstOffsetBytes, diff.DifferentBytes)
	case all.sum != sum:
		return 0, verifyFailed("the disk equals the image with the CRC-32C %08x, but it had %08x when it was copied", all.sum, sum)
	}
	buf := make([]byte, 1<<20)
	for off := im.Size(); off < c.dst.size; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		p := buf[:min(int64(len(buf)), c.dst.size-off)]
		if _, err := c.dst.ReadAt(p, off); err != nil {
			return 0, err
		}
		for i, b := range p {
			if b != 0 {
				return 0, verifyFailed("the disk has %#x at offset %d, behind the end of the image at %d, and not zero", b, off+int64(i), im.Size())
			}
		}
		off += int64(len(p))
		c.verified(off, c.dst.size)
	}
	return c.dst.size, nil
}

func (c *copying) verified(done, total int64) {
	c.report(job.Progress{Step: "verify", DoneBytes: done, TotalBytes: total})
}

// written is the disk, with data where the image has some.
type written struct {
	*target
	src disk.Mapped
}

func (w written) Size() int64     { return w.src.Size() }
func (w written) SectorSize() int { return w.src.SectorSize() }

// Extents implements disk.Mapped.
func (w written) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for e, err := range w.src.Extents(off, n) {
			e.Layer, e.FileOffset = 0, e.Offset // in the order of the disk
			if !yield(e, err) {
				return
			}
		}
	}
}

// whole is the disk as nothing but data, up to size. It is for one reader who
// goes through it once, and takes the checksum on the way.
type whole struct {
	*target
	size int64
	sum  uint32
}

func (w *whole) Size() int64   { return w.size }
func (*whole) SectorSize() int { return sectorBytes }

func (w *whole) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.target.ReadAt(p, off)
	w.sum = crc32.Update(w.sum, castagnoli, p[:n])
	return n, err
}

// Extents implements disk.Mapped.
func (w *whole) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		yield(disk.Extent{Offset: off, Length: n, Kind: disk.ExtentData, FileOffset: off}, nil)
	}
}

// nowhere is for a copy of which only the checksum is wanted.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Sync() error                            { return nil }
