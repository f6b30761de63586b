package vhd

// extent is a stretch of the file that belongs to a structure.
type extent struct {
	structure  string
	start, end int64
}

// layout is where the structures of a file lie that are not blocks. They are a
// dozen at most.
type layout struct {
	end     int64 // of the file, without a trailing footer
	extents []extent
}

// claim gives a stretch of the file to a structure that something at file
// offset at points to. It must lie in the file and be nobody else's.
func (l *layout) claim(structure string, at int64, off, length uint64) error {
	if off > uint64(l.end) || length > uint64(l.end)-off {
		return corrupt(structure, at, "points to %d bytes at %#x, but the file's data ends at %#x", length, off, l.end)
	}
	start, end := int64(off), int64(off+length)
	if other := l.overlaps(start, end); other != nil {
		return corrupt(structure, at, "points to %#x, which belongs to the %s at %#x", off, other.structure, other.start)
	}
	l.extents = append(l.extents, extent{structure, start, end})
	return nil
}

// overlaps finds a structure in [start, end).
func (l *layout) overlaps(start, end int64) *extent {
	for i := range l.extents {
		if e := &l.extents[i]; start < e.end && e.start < end {
			return e
		}
	}
	return nil
}
