// Package disk is the vocabulary of virtual disks: what a guest sees, apart
// from the container it is stored in. Its sub-packages read and write the
// containers (vhdx), the copy-on-write overlay and what lies on a disk (mbr
// and gpt, fat32). They are plain libraries: they know no server and no share.
package disk

import (
	"io"
	"iter"
)

// Disk is the guest-visible contents of a virtual disk.
//
// ReadAt follows io.ReaderAt, is safe for concurrent use, and may start and
// end anywhere: callers need not align. Reading past Size returns io.EOF.
type Disk interface {
	io.ReaderAt
	// Size is the virtual size in bytes, a multiple of SectorSize.
	Size() int64
	// SectorSize is the logical sector size in bytes: 512 or 4096.
	SectorSize() int
}

// Writable is a disk that can be changed, such as an overlay.
type Writable interface {
	Disk
	io.WriterAt
}

// ExtentKind says where the bytes of an extent come from.
type ExtentKind int

// The kinds of extents.
const (
	// ExtentData is stored in a file.
	ExtentData ExtentKind = iota
	// ExtentZero reads as zeros and is stored nowhere.
	ExtentZero
	// ExtentParent is not in this file: the parent has it. The disk of one file
	// says so even where it was opened over its parent; that of a chain has no
	// such extents.
	ExtentParent
)

// Extent is a stretch of a disk whose bytes come from one place.
type Extent struct {
	Offset, Length int64 // on the disk, in bytes; multiples of the sector size
	Kind           ExtentKind
	// Layer is the file of a chain that holds ExtentData: 0 is the base, the
	// parent of all, and the last one is the image itself.
	Layer int
	// FileOffset is where in that file ExtentData begins, in bytes.
	FileOffset int64
}

// Mapped is a disk that can tell what it has stored, and where.
type Mapped interface {
	Disk
	// Extents gives the extents of n bytes from off on, in order and without
	// gaps; neighbours that could be one are one where that is cheap to see.
	// It ends with the first error.
	Extents(off, n int64) iter.Seq2[Extent, error]
}

// Section is the part of a disk that begins at off and is n bytes long, for
// readers of what lies in a partition.
func Section(d io.ReaderAt, off, n int64) *io.SectionReader {
	return io.NewSectionReader(d, off, n)
}
