package vhdx

import (
	"fmt"
	"io"

	"github.com/google/uuid"

	"imageport/engine/disk"
)

// Type is how an image stores its disk.
type Type int

// The types of VHDX files.
const (
	// Fixed images have all blocks allocated.
	Fixed Type = iota + 1
	// Dynamic images allocate blocks when they are first written.
	Dynamic
	// Differencing images hold what differs from a parent.
	Differencing
)

func (t Type) String() string {
	switch t {
	case Fixed:
		return "fixed"
	case Dynamic:
		return "dynamic"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("Type(%d)", int(t))
}

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
}

// Image is an open VHDX file. It is immutable and safe for concurrent use.
type Image struct {
	r    io.ReaderAt
	info Info
	geo  geometry
	bat  []batEntry
}

// Open reads and verifies the structures of a VHDX file of size bytes: headers,
// region table, metadata and the whole BAT, 8 bytes per block. Contents are
// read by the Disk. The file must not change while the image is in use.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	creator, err := readFileIdentifier(r)
	if err != nil {
		return nil, err
	}
	if size < headerSectionSize {
		return nil, corrupt("header section", 0, "the file has %d bytes, expected at least %d", size, headerSectionSize)
	}
	if size > maxFileSize {
		return nil, refuse(ErrUnsupported, "file", 0, "found %d bytes, expected at most %d", size, int64(maxFileSize))
	}
	head, err := currentHeader(r)
	if err != nil {
		return nil, err
	}
	if head.log != uuid.Nil {
		return nil, refuse(ErrDirtyLog, "header", head.offset, "found log GUID %s, expected none", head.log)
	}

	space := newOccupancy(size)
	if err := space.claim("header section", 0, 0, headerSectionSize); err != nil {
		return nil, err
	}
	if head.logLength > 0 {
		if err := space.claim("log", head.offset, head.logOffset, uint64(head.logLength)); err != nil {
			return nil, err
		}
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
		r: r,
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
		},
		geo: newGeometry(int64(m.virtualSize), int64(m.blockSize), int64(m.logicalSectorSize)),
	}
	switch {
	case m.hasParent:
		im.info.Type = Differencing
	case m.leaveAllocated:
		im.info.Type = Fixed
	}
	if im.bat, err = readBAT(r, batRegion, im.geo, m.hasParent); err != nil {
		return nil, err
	}
	if err := verifyBAT(im.bat, int64(batRegion.offset), im.geo, m.hasParent, space); err != nil {
		return nil, err
	}
	return im, nil
}

// locateRegions claims the space of all regions and gives the two known ones.
func locateRegions(r io.ReaderAt, space *occupancy) (bat, metadata region, err error) {
	regions, err := readRegions(r)
	if err != nil {
		return region{}, region{}, err
	}
	for i, entry := range regions {
		at := int64(regionTable1Offset + 16 + tableEntrySize*i)
		known := entry.id == batRegionGUID || entry.id == metadataRegionGUID
		if !known && entry.required {
			return region{}, region{}, refuse(ErrUnsupported, "region table entry", at, "region %s is required, but unknown", entry.id)
		}
		if entry.length%mib != 0 {
			return region{}, region{}, corrupt("region table entry", at, "found length %#x, expected a multiple of 1 MiB", entry.length)
		}
		if err := space.claim("region table entry", at, entry.offset, uint64(entry.length)); err != nil {
			return region{}, region{}, err
		}
		target := &bat
		switch entry.id {
		case batRegionGUID:
		case metadataRegionGUID:
			target = &metadata
		default:
			continue
		}
		if target.length != 0 {
			return region{}, region{}, corrupt("region table entry", at, "a second region %s", entry.id)
		}
		*target = entry
	}
	if bat.length == 0 || metadata.length == 0 {
		return region{}, region{}, corrupt("region table", regionTable1Offset, "found %d regions, but not both BAT and metadata", len(regions))
	}
	return bat, metadata, nil
}

// Info is what the image says about itself.
func (im *Image) Info() Info { return im.info }

// Disk is the contents of the image. Fixed and dynamic images take no parent;
// a differencing one takes its parent's disk, of the same virtual and sector
// size. That the parent is the right one is for VerifyParent to say.
func (im *Image) Disk(parent disk.Disk) (disk.Disk, error) {
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

// ReadIdentity reads the DataWriteGUID of a VHDX file in three small reads,
// without verifying the rest. A file that WriteChild did not finish is ErrNotVHDX.
func ReadIdentity(r io.ReaderAt) (dataWriteGUID uuid.UUID, err error) {
	if _, err := readFileIdentifier(r); err != nil {
		return uuid.Nil, err
	}
	head, err := currentHeader(r)
	if err != nil {
		return uuid.Nil, err
	}
	return head.dataWrite, nil
}
