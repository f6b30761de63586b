package chain

import (
	"context"
	"errors"
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
	"imageport/engine/disk/vhdx"
)

// Container is the format of an image file.
type Container string

// The containers that can be opened.
const (
	VHDX Container = "vhdx"
	VHD  Container = "vhd"
	// Raw is the disk itself, byte for byte.
	Raw Container = "raw"
)

// image is one open file of a chain, whatever its container.
type image interface {
	// describe fills in what the image says about itself.
	describe(*Layer)
	// parentPaths are the paths under which to look for the parent, best
	// first; false if the image has no parent.
	parentPaths() ([]parentPath, bool)
	// verifyParent checks that parent is the image's.
	verifyParent(parent image) error
	// identify reads the Layer.ID of a file that was this image. ErrChanged if
	// it is none any more.
	identify(File) (string, error)
	// contents is what the image has of the disk; the rest is ExtentParent.
	contents() (disk.Mapped, error)
	// Check reports what is wrong with the file.
	Check(ctx context.Context, report func(container.Problem)) error
}

// openContainer opens an image of any container but Raw, whose tables share a
// cache with those of other images.
func openContainer(f File, replayLogs bool, tables *container.Cache) (image, error) {
	kind, err := vhdx.SniffFile(f, f.Size())
	if err != nil {
		return nil, fmt.Errorf("looking for the signature: %w", err)
	}
	switch Container(kind) {
	case VHDX:
		return openVHDX(f, replayLogs, tables)
	case VHD:
		return openVHD(f, tables)
	case "":
		return nil, fmt.Errorf("found no signature of VHDX or VHD in %d bytes: %w", f.Size(), ErrUnknownFormat)
	}
	return nil, fmt.Errorf("found the signature of %s, expected VHDX or VHD: %w", kind, ErrUnknownFormat)
}

// also adds a kind of this package to an error that is one of a container's.
func also(kind, err error, kinds ...error) error {
	for _, c := range kinds {
		if errors.Is(err, c) {
			return fmt.Errorf("%w: %w", err, kind)
		}
	}
	return err
}

// hole stands in for the parent of a differencing image, whose own part of the
// disk is all that a layer is asked for.
type hole struct {
	size   int64
	sector int
}

func (h hole) Size() int64     { return h.size }
func (h hole) SectorSize() int { return h.sector }

func (h hole) ReadAt([]byte, int64) (int, error) {
	return 0, errors.New("the image has less of the disk than its extents say")
}
