package diskimage

import (
	"context"
	"iter"
	"math"
	"slices"
	"sort"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
)

// Used is the disk of an image without what its NTFS volumes have free, which is
// not read and reads as zeros. What is free in short stretches is left in.
type Used struct {
	*chain.Chain
	// Warnings say which volumes are seen whole, and why.
	Warnings []string

	free []copier.Range // ascending and apart
}

var _ disk.Mapped = (*Used)(nil)

const (
	// leastFree is the shortest stretch, in bytes, that is left out: for less, to
	// read on costs no more than another request.
	leastFree = 64 << 10
	// maxFree bounds the stretches in memory, at 16 bytes each.
	maxFree = 1 << 20
)

// UsedOf looks for what is free on the disk of c. Volumes whose bitmaps cannot be
// believed are seen whole.
func UsedOf(ctx context.Context, c *chain.Chain) (*Used, error) {
	found, err := findFree(ctx, c)
	if err != nil {
		return nil, err
	}
	u := &Used{Chain: c, Warnings: found.warnings}
	least, end := int64(leastFree), int64(0)
	for r, err := range found.ranges() {
		if err != nil {
			return nil, err
		}
		if r.Offset < end || r.Length > c.Size()-r.Offset {
			// Of partitions that overlap, one may have free what is the other's.
			return &Used{Chain: c, Warnings: append(u.Warnings, "the disk is copied whole: its partitions overlap, or one ends behind it")}, nil
		}
		if end = r.Offset + r.Length; r.Length < least {
			continue
		}
		if u.free = append(u.free, r); len(u.free) > maxFree {
			least *= 2
			u.free = slices.DeleteFunc(u.free, func(r copier.Range) bool { return r.Length < least })
		}
	}
	return u, ctx.Err()
}

// at reports whether the disk is left out at off, and where that changes.
func (u *Used) at(off int64) (free bool, end int64) {
	i := sort.Search(len(u.free), func(i int) bool { return u.free[i].Offset+u.free[i].Length > off })
	switch {
	case i == len(u.free):
		return false, math.MaxInt64
	case off < u.free[i].Offset:
		return false, u.free[i].Offset
	}
	return true, u.free[i].Offset + u.free[i].Length
}

// ReadAt implements io.ReaderAt.
func (u *Used) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return u.Chain.ReadAt(p, off) // which says what is wrong
	}
	for done := 0; ; {
		at := off + int64(done)
		free, end := u.at(at)
		piece := p[done:]
		piece = piece[:min(int64(len(piece)), end-at)]
		if free {
			clear(piece)
			done += len(piece)
		} else {
			n, err := u.Chain.ReadAt(piece, at)
			if done += n; err != nil {
				return done, err
			}
		}
		if done == len(p) {
			return done, nil
		}
	}
}

// Extents implements disk.Mapped.
func (u *Used) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for e, err := range u.Chain.Extents(off, n) {
			if err != nil || e.Kind == disk.ExtentZero {
				if !yield(e, err) {
					return
				}
				continue
			}
			for e.Length > 0 {
				free, end := u.at(e.Offset)
				part := e
				part.Length = min(e.Length, end-e.Offset)
				if free {
					part = disk.Extent{Offset: part.Offset, Length: part.Length, Kind: disk.ExtentZero}
				}
				if !yield(part, nil) {
					return
				}
				e.Offset, e.FileOffset, e.Length = e.Offset+part.Length, e.FileOffset+part.Length, e.Length-part.Length
			}
		}
	}
}
