package copier

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"imageport/engine/disk"
)

// The plan is made in windows: so many units with data are put in the order of
// the source's files and handed out before more are looked for. That bounds
// the memory, and a State: what is neither all done nor not begun lies in one
// or two windows.
const (
	windowUnits = 8192
	// windowParts bounds the parts of badly scattered units in a window.
	windowParts = 32768
	// holeBytes bounds a piece of work without data, so that it ends soon.
	holeBytes = 64 << 20
)

// item is one piece of work: a unit with data, or units without.
type item struct {
	first, end int64 // units
	// parts are what is to be read, ascending and apart; all between them is
	// zero. None for units without data.
	parts []part
	// layer and fileOffset are where the first part is stored.
	layer      int
	fileOffset int64
	// ready is closed when the bytes before this item were hashed, and next
	// is to be closed when its own were. Nil without SHA-256.
	ready <-chan struct{}
	next  chan<- struct{}
}

// part is a range of the disk in bytes.
type part struct{ off, end int64 }

// planner turns the extents of the source into work.
type planner struct {
	geo geometry
	src disk.Disk
	// done is left out.
	done runs
	// inOrder keeps the order of the disk.
	inOrder bool
	// emit hands out work, holes the units without data.
	emit, holes func(item) error

	window []item
	parts  []part
	// unit is the one being put together, -1 for none, and unitParts where
	// its parts begin.
	unit      item
	unitParts int
	// planned is the first unit that was neither handed out nor put together.
	planned int64
	skipped int64 // bytes
}

// run plans the whole disk.
func (p *planner) run(ctx context.Context, skip iter.Seq2[Range, error]) error {
	p.unit.first = -1
	cuts := newSkipper(skip, p.src)
	defer cuts.stop()
	pos := int64(0)
	for e, err := range extents(p.src) {
		if err != nil {
			return fmt.Errorf("copier: mapping the source at offset %#x: %w", pos, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := verifyExtent(e, pos, p.src); err != nil {
			return err
		}
		pos += e.Length
		if e.Kind == disk.ExtentZero {
			continue
		}
		left := e.Length
		err := cuts.keep(e.Offset, pos, func(off, end int64) error {
			left -= end - off
			return p.data(off, end, e.Layer, e.FileOffset+off-e.Offset)
		})
		if err != nil {
			return err
		}
		p.skipped += left
	}
	if pos != p.geo.size {
		return fmt.Errorf("copier: the extents of the source end at offset %#x, expected %#x: %w", pos, p.geo.size, ErrRanges)
	}
	if err := p.closeUnit(); err != nil {
		return err
	}
	if err := p.zeros(p.planned, p.geo.units()); err != nil {
		return err
	}
	return p.flush()
}

// extents gives those of the source; one that cannot tell is all data.
func extents(src disk.Disk) iter.Seq2[disk.Extent, error] {
	if mapped, ok := src.(disk.Mapped); ok {
		return mapped.Extents(0, src.Size())
	}
	return func(yield func(disk.Extent, error) bool) {
		if src.Size() > 0 {
			yield(disk.Extent{Length: src.Size()}, nil)
		}
	}
}

func verifyExtent(e disk.Extent, pos int64, src disk.Disk) error {
	sector := int64(src.SectorSize())
	switch {
	case e.Kind != disk.ExtentData && e.Kind != disk.ExtentZero:
		return fmt.Errorf("copier: extent at offset %#x is of kind %d, expected data or zeros (is a parent missing?): %w", e.Offset, e.Kind, ErrRanges)
	case e.Offset != pos || e.Length <= 0 || e.Length > src.Size()-pos || e.Length%sector != 0 && e.Length != src.Size()-pos:
		return fmt.Errorf("copier: extent of %d bytes at offset %#x of a disk of %d bytes, expected whole sectors from %#x on: %w", e.Length, e.Offset, src.Size(), pos, ErrRanges)
	}
	return nil
}

// data plans the reading of a range.
func (p *planner) data(off, end int64, layer int, fileOffset int64) error {
	for off < end {
		unit := off / p.geo.unitSize
		if unit != p.unit.first {
			if err := p.closeUnit(); err != nil {
				return err
			}
			if err := p.zeros(p.planned, unit); err != nil {
				return err
			}
			p.unit = item{first: unit, end: unit + 1, layer: layer, fileOffset: fileOffset}
			p.unitParts, p.planned = len(p.parts), unit+1
		}
		stop := min(end, p.geo.offset(unit+1))
		if last := len(p.parts) - 1; last >= p.unitParts && p.parts[last].end == off {
			p.parts[last].end = stop
		} else {
			p.parts = append(p.parts, part{off, stop})
		}
		fileOffset += stop - off
		off = stop
	}
	return nil
}

// closeUnit puts the unit into the window.
func (p *planner) closeUnit() error {
	if p.unit.first < 0 {
		return nil
	}
	if p.done.contains(p.unit.first) {
		p.parts = p.parts[:p.unitParts]
	} else {
		p.unit.parts = p.parts[p.unitParts:len(p.parts):len(p.parts)]
		p.window = append(p.window, p.unit)
	}
	p.unit.first = -1
	if p.inOrder || len(p.window) >= windowUnits || len(p.parts) >= windowParts {
		return p.flush()
	}
	return nil
}

// flush hands out the window. Its parts stay with the work, so the next window
// gets new ones.
func (p *planner) flush() error {
	slices.SortFunc(p.window, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.layer, b.layer), cmp.Compare(a.fileOffset, b.fileOffset), cmp.Compare(a.first, b.first))
	})
	for _, it := range p.window {
		if err := p.emit(it); err != nil {
			return err
		}
	}
	clear(p.window)
	p.window, p.parts = p.window[:0], nil
	return nil
}

// zeros hands out units that have no data.
func (p *planner) zeros(first, end int64) error {
	return p.done.gaps(first, end, func(first, end int64) error {
		return p.holes(item{first: first, end: end})
	})
}

// skipper cuts the ranges to skip out of extents.
type skipper struct {
	next   func() (Range, error, bool)
	stop   func()
	src    disk.Disk
	cur    part // the range at hand; empty before the first
	ended  bool
	sector int64
}

func newSkipper(skip iter.Seq2[Range, error], src disk.Disk) *skipper {
	s := &skipper{src: src, stop: func() {}, ended: skip == nil, sector: int64(src.SectorSize())}
	if skip != nil {
		s.next, s.stop = iter.Pull2(skip)
	}
	return s
}

// keep gives what of the range is not skipped. Ranges come in ascending order.
func (s *skipper) keep(off, end int64, yield func(off, end int64) error) error {
	for off < end {
		for !s.ended && s.cur.end <= off {
			if err := s.advance(); err != nil {
				return err
			}
		}
		stop, next := end, end
		if !s.ended {
			stop, next = min(s.cur.off, end), s.cur.end
		}
		if off < stop {
			if err := yield(off, stop); err != nil {
				return err
			}
		}
		off = max(stop, next)
		if stop == end {
			return nil
		}
	}
	return nil
}

// advance takes the next range to skip.
func (s *skipper) advance() error {
	r, err, ok := s.next()
	switch {
	case !ok:
		s.ended = true
		return nil
	case err != nil:
		return fmt.Errorf("copier: ranges to skip behind offset %#x: %w", s.cur.end, err)
	case r.Offset < s.cur.end || r.Offset > s.src.Size() || r.Length <= 0 || r.Length > s.src.Size()-r.Offset:
		return fmt.Errorf("copier: range to skip of %d bytes at offset %#x, expected from %#x to %#x: %w", r.Length, r.Offset, s.cur.end, s.src.Size(), ErrRanges)
	case r.Offset%s.sector != 0 || r.Length%s.sector != 0:
		return fmt.Errorf("copier: range to skip of %d bytes at offset %#x, expected whole sectors of %d bytes: %w", r.Length, r.Offset, s.sector, ErrRanges)
	}
	s.cur = part{r.Offset, r.Offset + r.Length}
	return nil
}
