package vhdx

import (
	"fmt"
	"io"
	"sync/atomic"

	"imageport/engine/disk"
)

// imageDisk is the contents of an image over its parent, if it has one.
type imageDisk struct {
	image  *Image
	parent disk.Disk
	// bitmap is the sector bitmap of the partially present block that was
	// read last: enough for readers that go through the disk in order.
	bitmap atomic.Pointer[blockBitmap]
}

// blockBitmap is the part of a sector bitmap that belongs to one block.
type blockBitmap struct {
	block int64
	bits  []byte
}

// has tells whether a sector of the block is in this file. The lowest bit of a
// byte is the first sector.
func (b *blockBitmap) has(sector int64) bool { return b.bits[sector/8]&(1<<(sector%8)) != 0 }

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
	entry := d.image.bat[geo.payloadEntry(block)]
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
	bitmap, err := d.readBitmap(pos / geo.blockSize)
	if err != nil {
		return err
	}
	for len(p) > 0 {
		within := pos % geo.blockSize
		sector := within / geo.sectorSize
		present := bitmap.has(sector)
		end := (sector + 1) * geo.sectorSize
		for end < within+int64(len(p)) && bitmap.has(end/geo.sectorSize) == present {
			end += geo.sectorSize
		}
		n := min(end-within, int64(len(p)))
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

// readBitmap gives the sector bitmap of a block.
func (d *imageDisk) readBitmap(block int64) (*blockBitmap, error) {
	if cached := d.bitmap.Load(); cached != nil && cached.block == block {
		return cached, nil
	}
	geo := d.image.geo
	length := geo.blockSize / geo.sectorSize / 8
	entry := d.image.bat[geo.bitmapEntry(block/geo.chunkRatio)]
	bitmap := &blockBitmap{block, make([]byte, length)}
	off := entry.offset() + block%geo.chunkRatio*length
	if err := readFull(d.image.r, "sector bitmap", off, bitmap.bits); err != nil {
		return nil, err
	}
	d.bitmap.Store(bitmap)
	return bitmap, nil
}
