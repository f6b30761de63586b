package bootproof

import (
	"io"
	"sync"
)

const (
	probePage  = 4096    // bytes
	maxProbed  = 1 << 16 // pages
	coverPiece = 512     // bytes: the smallest sector
)

// reads counts what is read from a disk, and by whom. Firmware looks for file
// systems in every partition, and may do so again before it starts the boot
// manager, at the same places: what it had read before it turned to the boot
// manager is nobody else's merit.
type reads struct {
	disk    io.ReaderAt
	windows Range
	loader  []covered

	mu       sync.Mutex
	probed   map[int64]struct{} // pages of windows that firmware has read
	turned   bool               // to the boot manager: no more is added
	started  bool               // the boot manager
	bytes    int64              // of the disk, since the boot manager started
	ofWindow int64              // bytes of windows that were not probed
}

// covered is a range, and the pieces of it that were read.
type covered struct {
	Range
	read []bool // by piece of coverPiece bytes from Offset on
}

func newReads(d io.ReaderAt, windows Range, loader []Range) *reads {
	r := &reads{disk: d, windows: windows, probed: make(map[int64]struct{})}
	for _, l := range loader {
		r.loader = append(r.loader, covered{l, make([]bool, (l.Length+coverPiece-1)/coverPiece)})
	}
	return r
}

// ReadAt reads the disk, and counts what it could read.
func (r *reads) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.disk.ReadAt(p, off)
	if n > 0 {
		r.count(Range{off, int64(n)})
	}
	return n, err
}

func (r *reads) count(got Range) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		r.bytes += got.Length
	}
	for i := range r.loader {
		r.loader[i].add(got)
	}
	from, to := max(got.Offset, r.windows.Offset), min(got.end(), r.windows.end())
	for at := from; at < to; {
		page := at / probePage
		next := min(to, (page+1)*probePage)
		if _, known := r.probed[page]; !known && r.turned {
			r.ofWindow += next - at
		} else if !known && len(r.probed) < maxProbed {
			r.probed[page] = struct{}{}
		}
		at = next
	}
}

// add marks the pieces that lie in got as a whole.
func (c *covered) add(got Range) {
	from, to := max(got.Offset, c.Offset), min(got.end(), c.end())
	if from >= to {
		return
	}
	for i := (from - c.Offset + coverPiece - 1) / coverPiece; i < int64(len(c.read)); i++ {
		if min(c.Offset+(i+1)*coverPiece, c.end()) > to {
			return
		}
		c.read[i] = true
	}
}

// turn says that firmware has found the boot manager, and start that it has
// started it.
func (r *reads) turn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turned = true
}

func (r *reads) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turned, r.started = true, true
}

// tally is what was read, in bytes.
type tally struct {
	disk               int64 // since the boot manager started; again if it was read again
	windows            int64 // of WindowsRange, by the boot manager; likewise
	loader, loaderSize int64 // of Loader, each counted once
}

func (r *reads) tally() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := tally{disk: r.bytes, windows: r.ofWindow}
	for _, l := range r.loader {
		t.loaderSize += l.Length
		for i, read := range l.read {
			if read {
				at := int64(i) * coverPiece
				t.loader += min(coverPiece, l.Length-at)
			}
		}
	}
	return t
}
