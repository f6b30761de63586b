// Package disk is the vocabulary of virtual disks: what a guest sees, apart
// from the container it is stored in. Its sub-packages read and write the
// containers (vhdx), the copy-on-write overlay and what lies on a disk (mbr
// and gpt, fat32). They are plain libraries: they know no server and no share.
package disk

import "io"

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

// Section is the part of a disk that begins at off and is n bytes long, for
// readers of what lies in a partition.
func Section(d io.ReaderAt, off, n int64) *io.SectionReader {
	return io.NewSectionReader(d, off, n)
}
