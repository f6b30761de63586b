package vhd

import (
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
)

// Type is how an image stores its disk.
type Type = container.Type

// The types of VHD files.
const (
	Fixed        = container.Fixed
	Dynamic      = container.Dynamic
	Differencing = container.Differencing
)

// Info is what an image says about itself.
type Info struct {
	Type Type
	// VirtualSize is the size of the disk in bytes, as its creator shows it:
	// CurrentSize, or the capacity of Geometry of an image by Virtual PC,
	// Virtual Server or an old QEMU.
	VirtualSize int64
	// CurrentSize is the footer's field, in bytes.
	CurrentSize int64
	Geometry    Geometry
	// BlockSize is the size of a block in bytes; 0 in fixed images.
	BlockSize uint32
	// UniqueID is what a child knows its parent by.
	UniqueID uuid.UUID
	// Timestamp is when the image was made.
	Timestamp time.Time
	// Creator is the program that made the file, by its own account: "win 10.0".
	Creator string
	// Parent is set for differencing images only.
	Parent *ParentLocator
	// Warnings say what is wrong with the file, though it can be read: a
	// damaged footer or footer copy, a saved virtual machine.
	Warnings []string
}

// Image is an open VHD file. It is immutable and safe for concurrent use.
type Image struct {
	r    io.ReaderAt
	size int64
	foot *foundFooter
	info Info
	geo  geometry
	// Of dynamic and differencing images only.
	head    *header
	table   *table
	bitmaps *container.Table
}

// OpenOptions say how to open an image. The zero value will do for most.
type OpenOptions struct {
	// Cache keeps pieces of the BAT and sector bitmaps: the images of a chain
	// share one. An image without gets one of container.DefaultCacheBytes.
	Cache *container.Cache
}

// Open reads and verifies footer, dynamic disk header and parent locators of a
// VHD file of size bytes. The BAT is read and verified as it is needed, 64 KiB
// at a time, or as a whole by Check. The file must not change while the image
// is in use.
func Open(r io.ReaderAt, size int64) (*Image, error) { return OpenWith(r, size, OpenOptions{}) }

// OpenWith is Open with options.
func OpenWith(r io.ReaderAt, size int64, opt OpenOptions) (*Image, error) {
	f, err := findFooter(r, size)
	if err != nil {
		return nil, err
	}
	im := &Image{r: r, size: size, foot: f, info: Info{
		VirtualSize: f.virtualSize(),
		CurrentSize: int64(f.currentSize),
		Geometry:    f.geometry,
		UniqueID:    f.uniqueID,
		Timestamp:   epoch.Add(time.Duration(f.timestamp) * time.Second),
		Creator:     f.creator(),
		Warnings:    f.warnings(),
	}}
	im.geo.virtualSize = im.info.VirtualSize
	if f.diskType == typeFixed {
		im.info.Type = Fixed
		if im.info.VirtualSize > f.dataEnd {
			return nil, corrupt(trailingFooter, f.offset, "a fixed disk of %d bytes in front of it, but the file has %d", im.info.VirtualSize, f.dataEnd)
		}
		return im, nil
	}

	h, err := readHeader(r, f)
	if err != nil {
		return nil, err
	}
	im.head, im.info.Type, im.info.BlockSize = h, Dynamic, h.blockSize
	im.geo.blockSize = int64(h.blockSize)
	space := &layout{end: f.dataEnd}
	if err := space.claim(footerCopy, f.offset, 0, footerSize); err != nil {
		return nil, err
	}
	if err := space.claim(headerName, f.offset, f.dataOffset, headerSize); err != nil {
		return nil, err
	}
	at := int64(f.dataOffset)
	if err := space.claim("BAT", at, h.tableOffset, uint64(im.geo.blocks()*batEntrySize)); err != nil {
		return nil, err
	}
	if f.diskType == typeDifferencing {
		im.info.Type = Differencing
		if im.info.Parent, err = readLocator(r, h, at, space); err != nil {
			return nil, err
		}
	}
	cache := container.CacheOr(opt.Cache)
	im.table = &table{r: r, off: int64(h.tableOffset), geo: im.geo, space: space, pieces: cache.Table()}
	im.bitmaps = cache.Table()
	return im, nil
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
			return nil, fmt.Errorf("vhd: a %s image takes no parent: %w", im.info.Type, ErrParentMismatch)
		}
		return &imageDisk{image: im}, nil
	}
	if parent == nil {
		return nil, fmt.Errorf("vhd: a differencing image needs its parent: %w", ErrParentMismatch)
	}
	if err := verifyShape(im.info, parent.Size(), parent.SectorSize()); err != nil {
		return nil, err
	}
	return &imageDisk{image: im, parent: parent}, nil
}

// ReadIdentity reads the unique ID of a VHD file of size bytes in at most
// three small reads, without verifying the rest. A file that WriteChild or a
// Writer did not finish is ErrNotVHD or ErrCorrupt.
func ReadIdentity(r io.ReaderAt, size int64) (uniqueID uuid.UUID, err error) {
	f, err := findFooter(r, size)
	if err != nil {
		return uuid.Nil, err
	}
	if f.diskType != typeFixed {
		if _, err := readHeader(r, f); err != nil {
			return uuid.Nil, err
		}
	}
	return f.uniqueID, nil
}
