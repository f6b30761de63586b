package vhdx

import (
	"slices"
	"sort"
)

// maxFileSize bounds the memory of occupancy to 16 MiB. The biggest virtual
// disk, fully allocated with its BAT and bitmaps, needs half of it.
const maxFileSize = 2 * maxVirtualSize

// structures is the space of a file that no block may lie in: the header
// section, the log and the regions.
type structures struct {
	fileSize int64
	ranges   []fileRange // ascending and disjoint
}

// fileRange is the bytes of a file from offset up to end.
type fileRange struct {
	name        string
	offset, end int64
}

// claim adds [off, off+length) and fails if it is not aligned, not inside the
// file or not free. entryOffset is where the claim is made.
func (s *structures) claim(structure string, entryOffset int64, name string, off, length uint64) error {
	switch {
	case off%mib != 0 || length == 0:
		return corrupt(structure, entryOffset, "points to %d bytes at %#x, expected a multiple of 1 MiB", length, off)
	case off > uint64(s.fileSize) || length > uint64(s.fileSize)-off:
		return corrupt(structure, entryOffset, "points to %d bytes at %#x, but the file ends at %#x", length, off, s.fileSize)
	}
	claimed := fileRange{name, int64(off), int64(off + length)}
	i, err := s.find(structure, entryOffset, claimed)
	if err != nil {
		return err
	}
	s.ranges = slices.Insert(s.ranges, i, claimed)
	return nil
}

// find fails if a range overlaps one that is claimed, and gives the index of
// the first that is behind it.
func (s *structures) find(structure string, entryOffset int64, r fileRange) (int, error) {
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].end > r.offset })
	if i < len(s.ranges) && s.ranges[i].offset < r.end {
		return 0, corrupt(structure, entryOffset, "points to %d bytes at %#x, but %#x belongs to the %s",
			r.end-r.offset, r.offset, max(r.offset, s.ranges[i].offset), s.ranges[i].name)
	}
	return i, nil
}

// verifyBlock checks the place of a block of size bytes, of which the first
// needed bytes must be in the file: a last block may be as short as its disk.
// at is the file offset of the entry. It gives the space that the block takes.
func (s *structures) verifyBlock(structure string, at int64, entry batEntry, size, needed int64) (fileRange, error) {
	if entry.offsetMiB() > s.fileSize/mib {
		return fileRange{}, corrupt(structure, at, "points to %#x MiB, but the file ends at %#x", entry.offsetMiB(), s.fileSize)
	}
	off := entry.offset()
	if needed > s.fileSize-off {
		return fileRange{}, corrupt(structure, at, "points to %d bytes at %#x, but the file ends at %#x", needed, off, s.fileSize)
	}
	block := fileRange{structure, off, min(off+size, s.fileSize)}
	_, err := s.find(structure, at, block)
	return block, err
}

// occupancy remembers which MiB of a file belong to a block. Everything in a
// VHDX file is allocated in whole, aligned MiB.
type occupancy struct{ used []uint64 }

func newOccupancy(fileSize int64) *occupancy {
	units := (fileSize + mib - 1) / mib
	return &occupancy{make([]uint64, (units+63)/64)}
}

// take marks a range and gives the offset of the first MiB that was taken.
func (o *occupancy) take(r fileRange) (taken int64, free bool) {
	free = true
	for unit := r.offset / mib; unit*mib < r.end; unit++ {
		if o.used[unit/64]&(1<<(unit%64)) != 0 && free {
			taken, free = unit*mib, false
		}
		o.used[unit/64] |= 1 << (unit % 64)
	}
	return taken, free
}
