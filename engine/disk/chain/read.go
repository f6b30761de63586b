package chain

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"

	"imageport/engine/disk"
)

// windowSize bounds what is resolved at a time, and with it the memory: the
// worst image alternates by sector, 131,072 of them in a window.
const windowSize = 64 << 20

var _ disk.Mapped = (*Chain)(nil)

// Size is the virtual size in bytes, that of all layers.
func (c *Chain) Size() int64 { return c.top().about.VirtualSize }

// SectorSize is the logical sector size in bytes, that of all layers.
func (c *Chain) SectorSize() int { return c.top().about.LogicalSectorSize }

// ReadAt reads the contents of the disk, each byte from the uppermost layer
// that has it.
func (c *Chain) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("chain: read at negative offset %d", off)
	}
	size := c.Size()
	if off >= size {
		return 0, io.EOF
	}
	var atEnd error
	if left := size - off; int64(len(p)) > left {
		p, atEnd = p[:left], io.EOF
	}
	for done := 0; done < len(p); {
		n := min(len(p)-done, windowSize)
		if err := c.readWindow(p[done:done+n], off+int64(done)); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), atEnd
}

// readWindow fills p from off on the disk. The range lies inside the disk.
func (c *Chain) readWindow(p []byte, off int64) error {
	sector := int64(c.SectorSize())
	end := off + int64(len(p))
	first, last := off/sector*sector, (end+sector-1)/sector*sector
	return c.resolve(first, last-first, func(level int, e disk.Extent) error {
		from, to := max(e.Offset, off), min(e.Offset+e.Length, end)
		part := p[from-off : to-off]
		if e.Kind == disk.ExtentZero {
			clear(part)
			return nil
		}
		l := c.layers[level]
		n, err := l.own.ReadAt(part, from)
		if n == len(part) {
			return nil
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("chain: reading %d bytes of the disk at %#x from %s: %w", len(part), from, l.about.Name, err)
	})
}

// Extents gives the extents of n bytes from off on, merged over all layers:
// data and zeros, with Layer the index in Layers. Both must be multiples of the
// sector size inside the disk. Neighbours that continue each other are one.
//
// FileOffset is where the image's tables place the data. If the image has a
// log, newer bytes of that place may be in it: read them from the Chain.
func (c *Chain) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		sector := int64(c.SectorSize())
		if off < 0 || n < 0 || off > c.Size() || n > c.Size()-off || off%sector != 0 || n%sector != 0 {
			yield(disk.Extent{}, fmt.Errorf("chain: extents of %d bytes at %d: not sectors of a disk of %d bytes", n, off, c.Size()))
			return
		}
		var last disk.Extent // what may still grow
		var window []disk.Extent
		for end := off + n; off < end; off += windowSize {
			window = window[:0]
			err := c.resolve(off, min(windowSize, end-off), func(level int, e disk.Extent) error {
				e.Layer = level
				if e.Kind == disk.ExtentZero {
					e.Layer, e.FileOffset = 0, 0
				}
				window = append(window, e)
				return nil
			})
			if err != nil {
				if last.Length == 0 || yield(last, nil) {
					yield(disk.Extent{}, err)
				}
				return
			}
			slices.SortFunc(window, func(a, b disk.Extent) int { return cmp.Compare(a.Offset, b.Offset) })
			for _, e := range window {
				switch {
				case last.Length == 0:
					last = e
				case continues(last, e):
					last.Length += e.Length
				default:
					if !yield(last, nil) {
						return
					}
					last = e
				}
			}
		}
		if last.Length > 0 {
			yield(last, nil)
		}
	}
}

// continues tells whether e, which begins where last ends, can be one with it.
func continues(last, e disk.Extent) bool {
	return last.Kind == e.Kind && last.Layer == e.Layer &&
		(e.Kind == disk.ExtentZero || last.FileOffset+last.Length == e.FileOffset)
}

// run is a stretch of the disk that no layer so far had anything of.
type run struct{ off, length int64 }

// resolve tells found the extents of a range in sectors, and the layer of
// each. It goes down the layers once: each is asked for the runs that those
// above have left to their parents. Extents of one layer come in ascending
// order, those of upper layers first.
func (c *Chain) resolve(off, n int64, found func(level int, e disk.Extent) error) error {
	runs, below := []run{{off, n}}, []run(nil)
	for level := len(c.layers) - 1; len(runs) > 0; level-- {
		if level < 0 {
			return fmt.Errorf("chain: %s: the base leaves %d bytes of the disk at %#x to a parent",
				c.layers[0].about.Name, runs[0].length, runs[0].off)
		}
		below = below[:0]
		for _, r := range runs {
			var err error
			if below, err = c.ask(level, r, below, found); err != nil {
				return err
			}
		}
		runs, below = below, runs
	}
	return nil
}

// ask asks one layer for a run, and appends what it leaves to its parent to below.
func (c *Chain) ask(level int, r run, below []run, found func(level int, e disk.Extent) error) ([]run, error) {
	l := c.layers[level]
	next, end := r.off, r.off+r.length
	for e, err := range l.own.Extents(r.off, r.length) {
		if err != nil {
			return nil, fmt.Errorf("chain: extents of %s: %w", l.about.Name, err)
		}
		// A gap would leave stale bytes in a caller's buffer: data of nobody.
		if e.Offset != next || e.Length <= 0 || e.Length > end-next {
			return nil, fmt.Errorf("chain: extents of %s: found %d bytes at %#x, expected up to %d at %#x",
				l.about.Name, e.Length, e.Offset, end-next, next)
		}
		next += e.Length
		if e.Kind != disk.ExtentParent {
			if err := found(level, e); err != nil {
				return nil, err
			}
			continue
		}
		if i := len(below) - 1; i >= 0 && below[i].off+below[i].length == e.Offset {
			below[i].length += e.Length
		} else {
			below = append(below, run{e.Offset, e.Length})
		}
	}
	if next != end {
		return nil, fmt.Errorf("chain: extents of %s end at %#x, expected at %#x", l.about.Name, next, end)
	}
	return below, nil
}
