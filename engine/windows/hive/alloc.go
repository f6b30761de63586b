package hive

import (
	"bytes"
	"fmt"
	"slices"
)

// AllowGrowth lets edits add bins for what no free cell can hold, as long as the
// file is not longer than fileBytes. Without it, a hive keeps its size. Files of
// hives are often longer than their bins say: AllowGrowth(len(Bytes())) uses
// what is there, and leaves the length of the file alone.
func (h *Hive) AllowGrowth(fileBytes int) { h.limit = fileBytes }

// Grown is the number of bytes by which edits have made the file longer. It can
// be 0 although bins were added.
func (h *Hive) Grown() int { return len(h.b) - h.parsed }

// grow adds a bin with one free cell for n bytes.
func (h *Hive) grow(n int) error {
	size, more := len(h.bins), roundUp(binHeaderSize+n+4, pageSize)
	end := baseBlockSize + size + more
	if end > h.limit || size+more > maxBins {
		return fmt.Errorf("%w for %d bytes", ErrNoSpace, n)
	}
	if end > len(h.b) {
		h.b = append(h.b, make([]byte, end-len(h.b))...)
	}
	h.bins = h.b[baseBlockSize:end]
	h.used = append(h.used, make(bitmap, len(newBitmap(uint32(len(h.bins)/8)))-len(h.used))...)
	bin := make([]byte, more)
	copy(bin, "hbin")
	le.PutUint32(bin[4:], uint32(size))
	le.PutUint32(bin[8:], uint32(more))
	le.PutUint32(bin[binHeaderSize:], uint32(more-binHeaderSize))
	h.write(uint32(size), bin)
	h.free = append(h.free, uint32(size+binHeaderSize))
	le.PutUint32(h.b[40:], uint32(len(h.bins)))
	le.PutUint32(h.b[checksumAt:], checksum(h.b))
	return nil
}

// put stores data in a new cell, near another one if it can.
func (h *Hive) put(data []byte, near uint32) (uint32, error) {
	off, err := h.alloc(len(data), near)
	if err != nil {
		return 0, err
	}
	padded := make([]byte, roundUp(len(data)+4, 8)-4)
	copy(padded, data)
	h.write(off+4, padded)
	return off, nil
}

// field is a number in a key node. What the node's slice says is out of date
// once edits have made the hive longer.
func (h *Hive) field(n keyNode, at uint32) uint32 { return le.Uint32(h.bins[n.off+4+at:]) }

func (h *Hive) setField(n keyNode, at, to uint32) { h.writeUint32(n.off+4+at, to) }

// write changes bytes of the bins, and remembers what was there.
func (h *Hive) write(off uint32, data []byte) {
	dst := h.bins[off:][:len(data)]
	if bytes.Equal(dst, data) {
		return
	}
	h.undo = append(h.undo, undoRecord{off, slices.Clone(dst)})
	copy(dst, data)
	for p := off / pageSize; p <= (off+uint32(len(data))-1)/pageSize; p++ {
		h.pages[p] = struct{}{}
	}
}

func (h *Hive) writeUint32(off, n uint32) { h.write(off, le.AppendUint32(nil, n)) }

// collectFree lists the free cells. index has found all cells sound.
func (h *Hive) collectFree() {
	h.free = []uint32{}
	if h.pages == nil {
		h.pages = map[uint32]struct{}{}
	}
	size := uint32(len(h.bins))
	for bin := uint32(0); bin < size; {
		end := bin + le.Uint32(h.bins[bin+8:])
		for off := bin + binHeaderSize; off < end; {
			n, used := cellSize(h.bins[off:])
			if !used {
				h.free = append(h.free, off)
			}
			off += n
		}
		bin = end
	}
}

// alloc takes a cell for n bytes from a free one: in a page that is changed
// already, else in the page of near, else the first, so that edits change few
// pages. If there is none it adds a bin.
func (h *Hive) alloc(n int, near uint32) (uint32, error) {
	need := uint32(roundUp(n+4, 8))
	best, bestRank := -1, 3
	for i, off := range h.free {
		size, _ := cellSize(h.bins[off:])
		if size < need {
			continue
		}
		rank := 2
		if h.changed(off, need) {
			rank = 0
		} else if off/pageSize == near/pageSize {
			rank = 1
		}
		if rank < bestRank {
			best, bestRank = i, rank
		}
		if rank == 0 {
			break
		}
	}
	if best < 0 {
		if err := h.grow(n); err != nil {
			return 0, err
		}
		best = len(h.free) - 1
	}
	off := h.free[best]
	size, _ := cellSize(h.bins[off:])
	if rest := size - need; rest >= 8 {
		h.writeUint32(off+need, rest)
		h.free[best] = off + need
	} else {
		need = size
		h.free = slices.Delete(h.free, best, best+1)
	}
	h.writeUint32(off, -need)
	h.used.set(off / 8)
	return off, nil
}

// changed reports whether edits have changed all pages of n bytes at off.
func (h *Hive) changed(off, n uint32) bool {
	for p := off / pageSize; p <= (off+n-1)/pageSize; p++ {
		if _, ok := h.pages[p]; !ok {
			return false
		}
	}
	return true
}

// release frees a cell and joins it with the free cells beside it. Cells never
// touch those of the next bin: its header lies between.
func (h *Hive) release(off uint32) error {
	c, err := h.cell(off, "", 0)
	if err != nil {
		return err
	}
	n := uint32(len(c)) + 4
	h.used.unset(off / 8)
	i, _ := slices.BinarySearch(h.free, off)
	if i < len(h.free) && h.free[i] == off+n {
		next, _ := cellSize(h.bins[off+n:])
		n += next
		h.free = slices.Delete(h.free, i, i+1)
	}
	if i > 0 {
		prev := h.free[i-1]
		if size, _ := cellSize(h.bins[prev:]); prev+size == off {
			h.writeUint32(off, uint32(len(c))+4) // no stale cell inside a free one
			h.writeUint32(prev, size+n)
			return nil
		}
	}
	h.free = slices.Insert(h.free, i, off)
	h.writeUint32(off, n)
	return nil
}
