package reverse

import (
	"iter"

	"imageport/engine/disk"
)

const (
	// windowBytes is how much of the disk is copied in the order of the image's
	// files before the next such stretch is begun. A state of the copy then has
	// few runs, and fits into a heartbeat, however the image is scattered.
	windowBytes = 256 << 20
	// shortHole is the longest stretch without data that counts as data, of
	// which nothing is stored: to fill it with zeros takes next to nothing, and a
	// hole that is done ahead of the data around it is one more run.
	shortHole = windowBytes
)

// inWindows is a disk, as the copier is to go through it.
type inWindows struct{ disk.Mapped }

// Extents implements disk.Mapped. Layer and FileOffset are no places in a file,
// but give the order of the work.
func (d inWindows) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		var held disk.Extent // a hole whose end is not known yet
		for e, err := range d.Mapped.Extents(off, n) {
			switch {
			case err != nil:
				yield(e, err)
				return
			case e.Kind == disk.ExtentZero && held.Length > 0:
				held.Length += e.Length
				continue
			case e.Kind == disk.ExtentZero:
				held = e
				continue
			}
			if held.Length > 0 && held.Length <= shortHole {
				held.Kind, held.Layer, held.FileOffset = disk.ExtentData, e.Layer, e.FileOffset
			}
			if !inOrder(held, yield) || !inOrder(e, yield) {
				return
			}
			held = disk.Extent{}
		}
		inOrder(held, yield)
	}
}

// fileBytes is more than a file of an image has.
const fileBytes = 1 << 48

// inOrder cuts an extent at the windows, which come one after the other.
func inOrder(e disk.Extent, yield func(disk.Extent, error) bool) bool {
	if e.Kind == disk.ExtentZero && e.Length > 0 {
		return yield(e, nil)
	}
	for e.Length > 0 {
		n := min(e.Length, windowBytes-e.Offset%windowBytes)
		if !yield(disk.Extent{Offset: e.Offset, Length: n, Kind: e.Kind, Layer: int(e.Offset / windowBytes), FileOffset: int64(e.Layer)*fileBytes + e.FileOffset}, nil) {
			return false
		}
		e.Offset, e.FileOffset, e.Length = e.Offset+n, e.FileOffset+n, e.Length-n
	}
	return true
}
