package diskimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"

	"golang.org/x/sync/errgroup"

	"imageport/engine/disk"
)

// maxRanges is how many ranges Diff lists.
const maxRanges = 1000

// Difference is how the contents of two disks differ, as guests see them.
type Difference struct {
	Same bool `json:"same"` // in size and contents
	// SizeBytes are the sizes of the two disks. The contents are compared up
	// to the end of the smaller one.
	SizeBytes [2]int64 `json:"sizeBytes"`
	// FirstOffsetBytes is where the first byte differs; nil if none does.
	FirstOffsetBytes *int64 `json:"firstOffsetBytes,omitempty"`
	// DifferentBytes are the bytes that differ, DifferentRanges the runs of
	// 512-byte sectors that have such bytes.
	DifferentBytes  int64 `json:"differentBytes"`
	DifferentRanges int64 `json:"differentRanges"`
	// Ranges are the first 1000 of them.
	Ranges []Range `json:"ranges,omitempty"`

	rangeEnd int64 // of the last range
}

// Range is a stretch of a disk.
type Range struct {
	OffsetBytes int64 `json:"offsetBytes"`
	LengthBytes int64 `json:"lengthBytes"`
}

// Sizes of Diff in bytes: what it reads at a time, and what its ranges are
// multiples of.
const (
	diffChunk  = 4 << 20
	diffSector = 512
)

// Diff compares the contents of two disks. What neither of them stores is not
// read. progress is told how many bytes of how many are compared.
func Diff(ctx context.Context, a, b disk.Mapped, progress func(done, total int64)) (Difference, error) {
	d := Difference{SizeBytes: [2]int64{a.Size(), b.Size()}}
	size := min(a.Size(), b.Size())
	holesA, holesB := newHoles(a, size), newHoles(b, size)
	defer holesA.stop()
	defer holesB.stop()
	bufA, bufB := make([]byte, diffChunk), make([]byte, diffChunk)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return Difference{}, err
		}
		endA, errA := holesA.end(off)
		endB, errB := holesB.end(off)
		if err := errors.Join(errA, errB); err != nil {
			return Difference{}, Coded(err)
		}
		end := min(endA, endB, size)
		if end == off {
			end = min(off+diffChunk, size)
			p, q := bufA[:end-off], bufB[:end-off]
			var both errgroup.Group
			both.Go(func() error { return readFull(a, p, off) })
			both.Go(func() error { return readFull(b, q, off) })
			if err := both.Wait(); err != nil {
				return Difference{}, interrupted(ctx, Coded(err))
			}
			d.compare(p, q, off)
		}
		off = end
		progress(off, size)
	}
	d.Same = d.DifferentRanges == 0 && a.Size() == b.Size()
	return d, nil
}

func readFull(d disk.Disk, p []byte, off int64) error {
	if n, err := d.ReadAt(p, off); n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// compare accounts for the differences of a chunk.
func (d *Difference) compare(p, q []byte, off int64) {
	if bytes.Equal(p, q) {
		return
	}
	for at := 0; at < len(p); at += diffSector {
		end := min(at+diffSector, len(p))
		if s, t := p[at:end], q[at:end]; !bytes.Equal(s, t) {
			d.add(s, t, off+int64(at))
		}
	}
}

// add accounts for a sector that differs. They come in ascending order.
func (d *Difference) add(s, t []byte, off int64) {
	for i := range s {
		if s[i] != t[i] {
			if d.FirstOffsetBytes == nil {
				first := off + int64(i)
				d.FirstOffsetBytes = &first
			}
			d.DifferentBytes++
		}
	}
	continues := d.DifferentRanges > 0 && off == d.rangeEnd
	d.rangeEnd = off + int64(len(s))
	if !continues {
		d.DifferentRanges++
		if len(d.Ranges) < maxRanges {
			d.Ranges = append(d.Ranges, Range{OffsetBytes: off})
		}
	}
	if d.DifferentRanges == int64(len(d.Ranges)) {
		d.Ranges[len(d.Ranges)-1].LengthBytes += int64(len(s))
	}
}

// holes goes through the extents of a disk for those that are zeros.
type holes struct {
	next func() (disk.Extent, error, bool)
	stop func()
	at   disk.Extent
}

// newHoles begins with the first byte of d, of which size are of interest.
func newHoles(d disk.Mapped, size int64) *holes {
	sector := int64(d.SectorSize())
	h := new(holes)
	h.next, h.stop = iter.Pull2(d.Extents(0, (size+sector-1)/sector*sector))
	return h
}

// end gives the end of the zeros at off, or off if there are none. off only
// grows.
func (h *holes) end(off int64) (int64, error) {
	for off >= h.at.Offset+h.at.Length {
		e, err, ok := h.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, io.ErrUnexpectedEOF
		}
		h.at = e
	}
	if h.at.Kind == disk.ExtentZero {
		return h.at.Offset + h.at.Length, nil
	}
	return off, nil
}
