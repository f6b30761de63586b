package vhdx

import (
	"fmt"
	"io"

	"imageport/engine/disk"
)

// imageDisk is the contents of an image over its parent, if it has one.
type imageDisk struct {
	image  *Image
	parent disk.Disk
}

var _ disk.Mapped = (*imageDisk)(nil)

func (d *imageDisk) Size() int64 { return d.image.geo.virtualSize }

func (d *imageDisk) SectorSize() int { return int(d.image.geo.sectorSize) }

func (d *imageDisk) ReadAt(p []byte, off int64) (int, error) {
	geo := d.image.geo
	if off < 0 {
		return 0, fmt.Errorf("vhdx: read at negative offset %d", off)
	}
	if off >= geo.virtualSize {
		return 0, io.EOF
	}
	var atEnd error
	if left := geo.virtualSize - off; int64(len(p)) > left {
		p, atEnd = p[:left], io.EOF
	}
	for done := 0; done < len(p); {
		pos := off + int64(done)
		n := int(min(int64(len(p)-done), geo.blockSize-pos%geo.blockSize))
		if err := d.readBlock(p[done:done+n], pos); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), atEnd
}

// readBlock fills p from pos on the disk. The range lies in one block.
func (d *imageDisk) readBlock(p []byte, pos int64) error {
	geo := d.image.geo
	block, within := pos/geo.blockSize, pos%geo.blockSize
	entry, _, err := d.image.bat.payload(block)
	if err != nil {
		return err
	}
	switch entry.state() {
	case blockFullyPresent:
		return readFull(d.image.r, "payload block", entry.offset()+within, p)
	case blockPartiallyPresent:
		return d.readPartial(p, pos, entry)
	case blockNotPresent:
		return d.readParent(p, pos)
	default: // zero, undefined and unmapped: all may read as zeros
		clear(p)
		return nil
	}
}

// readPartial fills p with runs of sectors from this file and from the parent.
func (d *imageDisk) readPartial(p []byte, pos int64, entry batEntry) error {
	geo := d.image.geo
	bitmap, err := d.image.blockBitmap(pos / geo.blockSize)
	if err != nil {
		return err
	}
	for len(p) > 0 {
		within := pos % geo.blockSize
		limit := (within + int64(len(p)) + geo.sectorSize - 1) / geo.sectorSize
		present, end := bitmap.run(within/geo.sectorSize, limit)
		n := min(end*geo.sectorSize-within, int64(len(p)))
		if present {
			err = readFull(d.image.r, "payload block", entry.offset()+within, p[:n])
		} else {
			err = d.readParent(p[:n], pos)
		}
		if err != nil {
			return err
		}
		p, pos = p[n:], pos+n
	}
	return nil
}

// readParent fills p from the parent; without one, absent blocks are zeros.
func (d *imageDisk) readParent(p []byte, pos int64) error {
	if d.parent == nil {
		clear(p)
		return nil
	}
	n, err := d.parent.ReadAt(p, pos)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("vhdx: reading %d bytes of the parent at %#x: %w", len(p), pos, err)
}

// blockBitmap is the part of a sector bitmap that belongs to one block. A set
// bit is a sector in this file; the lowest bit of a byte is the first sector.
type blockBitmap []byte

// blockBitmap gives the sector bitmap of a partially present block.
func (im *Image) blockBitmap(block int64) (blockBitmap, error) {
	entry, _, err := im.bat.bitmapOf(block)
	if err != nil {
		return nil, err
	}
	length := im.geo.blockSize / im.geo.sectorSize / 8
	return im.bitmaps.read(entry.offset()+block%im.geo.chunkRatio*length, length)
}

// run tells whether a sector is in this file, and how far below limit all
// others are or are not, like it.
func (b blockBitmap) run(sector, limit int64) (present bool, end int64) {
	bit := func(sector int64) bool { return b[sector/8]&(1<<(sector%8)) != 0 }
	present = bit(sector)
	whole := byte(0)
	if present {
		whole = 0xff
	}
	for end = sector + 1; end < limit; {
		switch {
		case end%8 == 0 && b[end/8] == whole:
			end += 8
		case bit(end) == present:
			end++
		default:
			return present, end
		}
	}
	return present, min(end, limit)
}
