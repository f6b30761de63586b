package vhdx

import (
	"fmt"
	"iter"

	"imageport/engine/disk"
)

// Extents tells what this one file says about the disk, sector by sector: the
// Layer is always 0, and what an image with a parent has not is ExtentParent,
// whose extents the parent's disk has. A chain puts the two together.
//
// off and n are multiples of the sector size, inside the disk. FileOffset is
// in the file as it is on storage: of an image that was opened with
// a ReplayLog, the bytes there may be older than those of the disk.
func (d *imageDisk) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		geo := d.image.geo
		if off < 0 || n < 0 || off > geo.virtualSize || n > geo.virtualSize-off || off%geo.sectorSize != 0 || n%geo.sectorSize != 0 {
			yield(disk.Extent{}, fmt.Errorf("vhdx: extents of %d bytes at %d: not whole sectors of %d bytes on a disk of %d bytes",
				n, off, geo.sectorSize, geo.virtualSize))
			return
		}
		var run disk.Extent // what is not yielded yet
		add := func(e disk.Extent) bool {
			if joins(run, e) {
				run.Length += e.Length
				return true
			}
			done := run
			run = e
			return done.Length == 0 || yield(done, nil)
		}
		for end := off + n; off < end; {
			length := min(geo.blockSize-off%geo.blockSize, end-off)
			more, err := d.blockExtents(off, length, add)
			if err != nil {
				if run.Length == 0 || yield(run, nil) {
					yield(disk.Extent{}, err)
				}
				return
			}
			if !more {
				return
			}
			off += length
		}
		if run.Length > 0 {
			yield(run, nil)
		}
	}
}

// joins tells whether e continues an extent.
func joins(run, e disk.Extent) bool {
	return run.Length > 0 && run.Kind == e.Kind && run.Offset+run.Length == e.Offset &&
		(e.Kind != disk.ExtentData || run.FileOffset+run.Length == e.FileOffset)
}

// blockExtents adds the extents of a range that lies in one block. It stops
// when add wants no more.
func (d *imageDisk) blockExtents(off, n int64, add func(disk.Extent) bool) (more bool, err error) {
	geo := d.image.geo
	block := off / geo.blockSize
	entry, _, err := d.image.bat.payload(block)
	if err != nil {
		return false, err
	}
	absent := disk.ExtentZero
	if d.image.info.Type == Differencing {
		absent = disk.ExtentParent
	}
	switch entry.state() {
	case blockFullyPresent:
		return add(disk.Extent{Offset: off, Length: n, Kind: disk.ExtentData, FileOffset: entry.offset() + off%geo.blockSize}), nil
	case blockPartiallyPresent:
	case blockNotPresent:
		return add(disk.Extent{Offset: off, Length: n, Kind: absent}), nil
	default:
		return add(disk.Extent{Offset: off, Length: n, Kind: disk.ExtentZero}), nil
	}

	bitmap, err := d.image.blockBitmap(block)
	if err != nil {
		return false, err
	}
	start := block * geo.blockSize
	for end := off + n; off < end; {
		present, sector := bitmap.run((off-start)/geo.sectorSize, (end-start)/geo.sectorSize)
		e := disk.Extent{Offset: off, Length: start + sector*geo.sectorSize - off, Kind: absent}
		if present {
			e.Kind, e.FileOffset = disk.ExtentData, entry.offset()+off-start
		}
		if !add(e) {
			return false, nil
		}
		off += e.Length
	}
	return true, nil
}
