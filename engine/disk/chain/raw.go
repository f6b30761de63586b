package chain

import (
	"context"
	"fmt"
	"iter"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
	"imageport/engine/disk/vhdx"
)

// rawImage is a file that is the disk.
type rawImage struct {
	File
	sector int
}

// openRaw refuses files that are images of another container: their bytes are
// no disk. An ISO image is one.
func openRaw(f File, sectorSize int) (image, error) {
	if sectorSize == 0 {
		sectorSize = 512
	}
	kind, err := vhdx.SniffFile(f, f.Size())
	switch {
	case err != nil:
		return nil, fmt.Errorf("looking for the signature: %w", err)
	case kind != "" && kind != "iso":
		return nil, fmt.Errorf("found the signature of %s, expected a raw disk: %w", kind, ErrUnknownFormat)
	case sectorSize != 512 && sectorSize != 4096:
		return nil, fmt.Errorf("sector size %d of a raw disk is not 512 or 4096", sectorSize)
	case f.Size() == 0 || f.Size()%int64(sectorSize) != 0:
		return nil, fmt.Errorf("found %d bytes, expected sectors of %d: %w", f.Size(), sectorSize, ErrUnknownFormat)
	}
	return rawImage{f, sectorSize}, nil
}

func (im rawImage) describe(l *Layer) {
	l.Container, l.Type = Raw, string(Raw)
	l.VirtualSize = im.Size()
	l.LogicalSectorSize, l.PhysicalSectorSize = im.sector, im.sector
}

func (im rawImage) parentPaths() ([]parentPath, bool) { return nil, false }

func (im rawImage) verifyParent(image) error { return ErrMixedContainers }

func (im rawImage) SectorSize() int { return im.sector }

func (im rawImage) identify(File) (string, error) { return "", nil }

func (im rawImage) contents() (disk.Mapped, error) { return im, nil }

// Extents is one extent: all of a raw disk is stored.
func (im rawImage) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if n > 0 {
			yield(disk.Extent{Offset: off, Length: n, Kind: disk.ExtentData, FileOffset: off}, nil)
		}
	}
}

// Check finds nothing: a raw disk has no structures.
func (im rawImage) Check(context.Context, func(container.Problem)) error { return nil }
