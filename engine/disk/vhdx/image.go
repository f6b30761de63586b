package vhdx

import (
	"fmt"
	"io"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
)

// Type is how an image stores its disk.
type Type = container.Type

// The types of VHDX files.
const (
	Fixed        = container.Fixed
	Dynamic      = container.Dynamic
	Differencing = container.Differencing
)

// Info is what an image says about itself.
type Info struct {
	Type Type
	// VirtualSize is the size of the disk in bytes.
	VirtualSize int64
	// BlockSize is the size of a payload block in bytes.
	BlockSize uint32
	// LogicalSectorSize and PhysicalSectorSize are 512 or 4096 bytes.
	LogicalSectorSize, PhysicalSectorSize int
	// DataWriteGUID changes when the contents of the disk change;
	// FileWriteGUID whenever the file is opened for writing and changed.
	DataWriteGUID, FileWriteGUID uuid.UUID
	// VirtualDiskID is the same in all images of a chain.
	VirtualDiskID uuid.UUID
	// SequenceNumber is the current header's.
	SequenceNumber uint64
	// Creator is the program that made the file, by its own account.
	Creator string
	// Parent is set for differencing images only.
	Parent *ParentLocator
	// DirtyLog tells that the file's log was not empty and has been replayed
	// in memory.
	DirtyLog bool
	// ReplayedBytes is the memory that the replayed log takes.
	ReplayedBytes int64

	// inherited is what WriteChild copies from its parent's metadata.
	inherited inheritance
}

// Image is an open VHDX file. It is immutable and safe for concurrent use.
type Image struct {
	r       io.ReaderAt // the file, as it reads once its log is replayed
	head    header
	info    Info
	geo     geometry
	bat     *bat
	bitmaps *tableReader
}

// OpenOptions say how to open an image. The zero value will do for most.
type OpenOptions struct {
	// ReplayLog accepts a file that has a dirty log: the image is what it will
	// be when the log has been replayed. That is done in memory, and takes as
	// much of it as the log is long, at most 32 MiB; nothing is written.
	ReplayLog bool
	// Cache keeps pieces of the BAT and sector bitmaps: the images of a chain
	// share one. An image without gets one of container.DefaultCacheBytes.
	Cache *container.Cache
}

// Open reads and verifies the structures of a VHDX file of size bytes that the
// whole image depends on: headers, region table and metadata, less than 2 MiB
// of most files. BAT entries are read and verified when the Disk needs
// them; Check verifies all of them. The file must not change while the image
// is in use. One with a log to be replayed is ErrDirtyLog.
func Open(r io.ReaderAt, size int64) (*Image, error) { return OpenWith(r, size, OpenOptions{}) }

// OpenWith is Open with options.
func OpenWith(r io.ReaderAt, size int64, opt OpenOptions) (*Image, error) {
	creator, head, err := readIdentity(r, size)
	if err != nil {
		return nil, err
	}
	if head.log != uuid.Nil && !opt.ReplayLog {
		return nil, dirtyLog(head)
	}

	space := &structures{fileSize: size}
	if err := space.claim("header section", 0, "header section", 0, headerSectionSize); err != nil {
		return nil, err
	}
	if head.logLength > 0 {
		if err := space.claim("header", head.offset, "log", head.logOffset, uint64(head.logLength)); err != nil {
			return nil, err
		}
	}
	var replayedBytes int64
	if head.log != uuid.Nil {
		replayed, err := replay(r, size, head)
		if err != nil {
			return nil, err
		}
		r, space.fileSize, replayedBytes = replayed, replayed.size, int64(head.logLength)
	}
	batRegion, metadataRegion, err := locateRegions(r, space)
	if err != nil {
		return nil, err
	}
	m, err := readMetadata(r, int64(metadataRegion.offset), metadataRegion.length)
	if err != nil {
		return nil, err
	}

	im := &Image{
		r:    r,
		head: head,
		info: Info{
			Type:               Dynamic,
			VirtualSize:        int64(m.virtualSize),
			BlockSize:          m.blockSize,
			LogicalSectorSize:  int(m.logicalSectorSize),
			PhysicalSectorSize: int(m.physicalSectorSize),
			DataWriteGUID:      head.dataWrite,
			FileWriteGUID:      head.fileWrite,
			VirtualDiskID:      m.virtualDiskID,
			SequenceNumber:     head.sequence,
			Creator:            creator,
			Parent:             m.parent,
			DirtyLog:           head.log != uuid.Nil,
			ReplayedBytes:      replayedBytes,
			inherited:          m.inherited,
		},
		geo: newGeometry(int64(m.virtualSize), int64(m.blockSize), int64(m.logicalSectorSize)),
	}
	cache := container.CacheOr(opt.Cache)
	im.bitmaps = &tableReader{r, "sector bitmap", cache.Table()}
	switch {
	case m.hasParent:
		im.info.Type = Differencing
	case m.leaveAllocated:
		im.info.Type = Fixed
	}
	if im.bat, err = newBAT(&tableReader{r, "BAT", cache.Table()}, batRegion, im.geo, m.hasParent, space); err != nil {
		return nil, err
	}
	return im, nil
}

// dirtyLog is the error about a log that is not replayed.
func dirtyLog(head header) *Problem {
	return refuse(ErrDirtyLog, "header", head.offset, "found log GUID %s, expected none", head.log)
}

// Info is what the image says about itself.
func (im *Image) Info() Info { return im.info }

// Disk is the contents of the image. Fixed and dynamic images take no parent;
// a differencing one takes its parent's disk, of the same virtual and sector
// size. That the parent is the right one is for VerifyParent to say.
//
// The disk's Extents speak of this file alone, as layer 0: what only the
// parent has is disk.ExtentParent, whatever parent was given.
func (im *Image) Disk(parent disk.Disk) (disk.Mapped, error) {
	if im.info.Type != Differencing {
		if parent != nil {
			return nil, fmt.Errorf("vhdx: a %s image takes no parent: %w", im.info.Type, ErrParentMismatch)
		}
		return &imageDisk{image: im}, nil
	}
	if parent == nil {
		return nil, fmt.Errorf("vhdx: a differencing image needs its parent: %w", ErrParentMismatch)
	}
	if err := verifyShape(im.info, parent.Size(), parent.SectorSize()); err != nil {
		return nil, err
	}
	return &imageDisk{image: im, parent: parent}, nil
}

// ReadIdentity reads the DataWriteGUID of a VHDX file of size bytes in three
// small reads, without verifying the rest. A file that WriteChild or a Writer
// did not finish is ErrNotVHDX.
func ReadIdentity(r io.ReaderAt, size int64) (dataWriteGUID uuid.UUID, err error) {
	_, head, err := readIdentity(r, size)
	return head.dataWrite, err
}

// readIdentity reads what names a file: the creator and the current header.
func readIdentity(r io.ReaderAt, size int64) (creator string, head header, err error) {
	if creator, err = readFileIdentifier(r); err != nil {
		return "", header{}, err
	}
	switch {
	case size < headerSectionSize:
		return "", header{}, corrupt("header section", 0, "the file has %d bytes, expected at least %d", size, headerSectionSize)
	case size > maxFileSize:
		return "", header{}, refuse(ErrUnsupported, "file", 0, "found %d bytes, expected at most %d", size, int64(maxFileSize))
	}
	head, err = currentHeader(r)
	return creator, head, err
}
