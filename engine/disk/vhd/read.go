package vhd

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"imageport/engine/disk"
)

// imageDisk is the contents of an image over its parent, if it has one.
type imageDisk struct {
	image  *Image
	parent disk.Disk
}

var _ disk.Mapped = (*imageDisk)(nil)

func (d *imageDisk) Size() int64 { return d.image.geo.virtualSize }

func (d *imageDisk) SectorSize() int { return SectorSize }

func (d *imageDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("vhd: read at negative offset %d", off)
	}
	if off >= d.Size() {
		return 0, io.EOF
	}
	var atEnd error
	if left := d.Size() - off; int64(len(p)) > left {
		p, atEnd = p[:left], io.EOF
	}
	for done := 0; done < len(p); {
		next, err := d.image.extentAt(off+int64(done), off+int64(len(p)))
		if err != nil {
			return done, err
		}
		part := p[done : done+int(next.Length)]
		switch next.Kind {
		case disk.ExtentData:
			err = readFull(d.image.r, "data", next.FileOffset, part)
		case disk.ExtentParent:
			err = d.readParent(part, next.Offset)
		case disk.ExtentZero:
			clear(part)
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), atEnd
}

func (d *imageDisk) readParent(p []byte, off int64) error {
	n, err := d.parent.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("vhd: reading %d bytes of the parent at %#x: %w", len(p), off, err)
}

// errRange is a mistake of the caller's.
var errRange = errors.New("not whole sectors of the disk")

// Extents gives what this file has of a range of whole sectors, as layer 0.
// Absent blocks and sectors are ExtentParent in a differencing image and
// ExtentZero in a dynamic one; stretches that are one on the disk and in the
// file are one extent. It reads the BAT and the bitmaps of the range.
func (d *imageDisk) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if off < 0 || n < 0 || off%SectorSize != 0 || n%SectorSize != 0 || n > d.Size()-off {
			yield(disk.Extent{}, fmt.Errorf("vhd: extents of %d bytes at %d of %d: %w", n, off, d.Size(), errRange))
			return
		}
		var run disk.Extent
		for pos := off; pos < off+n; {
			next, err := d.image.extentAt(pos, off+n)
			if err != nil {
				if run.Length == 0 || yield(run, nil) {
					yield(disk.Extent{}, err)
				}
				return
			}
			pos += next.Length
			if run.Length > 0 && continues(run, next) {
				run.Length += next.Length
				continue
			}
			if run.Length > 0 && !yield(run, nil) {
				return
			}
			run = next
		}
		if run.Length > 0 {
			yield(run, nil)
		}
	}
}

// continues tells whether b, which follows a on the disk, is more of the same.
func continues(a, b disk.Extent) bool {
	return a.Kind == b.Kind && (a.Kind != disk.ExtentData || a.FileOffset+a.Length == b.FileOffset)
}

// extentAt is the stretch from pos on, up to end at most, that comes from one
// place. Data ends with its block; a stretch may begin and end within a sector.
func (im *Image) extentAt(pos, end int64) (disk.Extent, error) {
	if im.table == nil {
		return disk.Extent{Offset: pos, Length: end - pos, Kind: disk.ExtentData, FileOffset: pos}, nil
	}
	block, within := pos/im.geo.blockSize, pos%im.geo.blockSize
	off, absentBlocks, err := im.table.lookup(block, (end-1)/im.geo.blockSize)
	if err != nil {
		return disk.Extent{}, err
	}
	next := disk.Extent{Offset: pos, Kind: disk.ExtentZero}
	if im.info.Type == Differencing {
		next.Kind = disk.ExtentParent
	}
	next.Length = min(end, (block+max(absentBlocks, 1))*im.geo.blockSize) - pos
	if absentBlocks > 0 {
		return next, nil
	}
	bitmap, err := im.bitmap(off)
	if err != nil {
		return disk.Extent{}, err
	}
	present, sectors := bitmap.run(within/SectorSize, (within+next.Length+SectorSize-1)/SectorSize)
	next.Length = min(next.Length, sectors*SectorSize-within%SectorSize)
	if present {
		next.Kind, next.FileOffset = disk.ExtentData, off+im.geo.bitmapSize()+within
	}
	return next, nil
}

// bitmap gives the sector bitmap at off in the file. A clear bit in a dynamic
// image is a sector that was never written, and zeros whatever the file has.
func (im *Image) bitmap(off int64) (sectorBitmap, error) {
	return im.bitmaps.Piece(off, func() ([]byte, error) {
		p := make([]byte, im.geo.blockSize/SectorSize/8)
		return p, readFull(im.r, "sector bitmap", off, p)
	})
}

// sectorBitmap has a bit for each sector of a block; the highest bit of a byte
// is the first sector. A set bit is a sector that is in this file.
type sectorBitmap []byte

func (b sectorBitmap) has(sector int64) bool { return b[sector/8]&(0x80>>(sector%8)) != 0 }

// set sets the bits of [from, to).
func (b sectorBitmap) set(from, to int64) {
	for ; from < to; from++ {
		b[from/8] |= 0x80 >> (from % 8)
	}
}

// run tells how many sectors from from on, up to to, are alike, and how.
func (b sectorBitmap) run(from, to int64) (present bool, count int64) {
	present = b.has(from)
	var whole byte
	if present {
		whole = 0xff
	}
	sector := from + 1
	for sector < to {
		switch {
		case sector%8 == 0 && b[sector/8] == whole:
			sector += 8
		case b.has(sector) == present:
			sector++
		default:
			return present, sector - from
		}
	}
	return present, min(sector, to) - from
}
