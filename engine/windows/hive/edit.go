package hive

import (
	"bytes"
	"fmt"
	"slices"
)

// SetValue adds a value to the key at path, or replaces the one of that name.
// Nothing else in the hive changes, not even the key's time. The errors are
// ErrNotFound (no such key), ErrNoSpace, ErrDirty and ErrCorrupt; after one, the
// hive is as it was. Commit completes a series of edits.
func (h *Hive) SetValue(path []string, v Value) error {
	return h.edit(path, v.Name, func(e *editing) error {
		if n := utf16Len(v.Name); n > maxValueName {
			return fmt.Errorf("name of %d characters, want at most %d", n, maxValueName)
		}
		if err := e.set(v); err != nil {
			return err
		}
		k, err := h.Lookup(path...)
		if err != nil {
			return err
		}
		if got, ok := k.Value(v.Name); !ok || got.Type != v.Type || !bytes.Equal(got.Data, v.Data) {
			return corrupt(e.key.off, "key %q does not keep what is written to it: its cells are shared", k.Name)
		}
		return nil
	})
}

// DeleteValue removes a value of the key at path. Errors are those of SetValue,
// ErrNotFound also if the key has no such value.
func (h *Hive) DeleteValue(path []string, name string) error {
	return h.edit(path, name, func(e *editing) error { return e.remove() })
}

// editing is one change of one value.
type editing struct {
	h     *Hive
	key   keyNode
	list  []uint32  // the key's values
	index int       // of the value in list, -1 if there is none of that name
	value valueNode // that value
}

type undoRecord struct {
	off uint32
	old []byte
}

// edit runs change, and takes back what it did if it fails.
func (h *Hive) edit(path []string, name string, change func(*editing) error) error {
	fail := func(err error) error { return fmt.Errorf("edit value %q of %q: %w", name, path, err) }
	if h.dirty {
		return fail(ErrDirty)
	}
	e, err := h.newEditing(path, name)
	if err != nil {
		return fail(err)
	}
	if h.free == nil {
		h.collectFree()
	}
	err = change(e)
	undo := h.undo
	h.undo = nil
	if err == nil {
		return nil
	}
	for _, u := range slices.Backward(undo) {
		copy(h.bins[u.off:], u.old)
	}
	h.free = nil
	if reindex := h.index(); reindex != nil {
		return fail(reindex)
	}
	return fail(err)
}

func (h *Hive) newEditing(path []string, name string) (*editing, error) {
	r := h.newReading()
	n, err := r.open(path)
	if err != nil {
		return nil, err
	}
	e := &editing{h: h, key: n, index: -1}
	if e.list, err = r.valueList(n); err != nil {
		return nil, err
	}
	for i, off := range e.list {
		v, err := h.valueNode(off)
		if err != nil {
			return nil, err
		}
		if sameName(v.name(), name) {
			e.index, e.value = i, v
			break
		}
	}
	return e, nil
}

func (e *editing) set(v Value) error {
	h := e.h
	store := func(data []byte) (uint32, error) { return putData(data, h.minor, e.put) }
	if e.index >= 0 {
		c := slices.Clone(e.value.c[:valueNodeSize])
		if err := e.replaceData(c, v, store); err != nil {
			return err
		}
		h.write(e.value.off+4, c)
	} else {
		c, err := newValueCell(v, store)
		if err != nil {
			return err
		}
		off, err := e.put(c)
		if err != nil {
			return err
		}
		if err := e.append(off); err != nil {
			return err
		}
	}
	e.raise(60, 2*utf16Len(v.Name))
	e.raise(64, len(v.Data))
	return nil
}

// replaceData gives the value whose cell c is a copy of new data: where the old
// is if it fits there, else in another cell.
func (e *editing) replaceData(c []byte, v Value, store func([]byte) (uint32, error)) error {
	h := e.h
	old, inline := e.value.size()
	if !inline && old > 0 {
		off := e.value.dataCell()
		big := h.isBigData(off, old)
		data, err := h.cell(off, "", 0)
		if err != nil {
			return err
		}
		fits := len(v.Data) <= len(data) && (len(v.Data) <= bigData || h.minor < bigDataMinor)
		if !big && fits && len(v.Data) > inlineDataMax {
			h.write(off+4, v.Data)
			return setValueData(c, v, func([]byte) (uint32, error) { return off, nil })
		}
		if err := e.freeData(); err != nil {
			return err
		}
	}
	return setValueData(c, v, store)
}

// append adds a value's cell to the key's list.
func (e *editing) append(value uint32) error {
	h, count := e.h, len(e.list)
	if count > 0 {
		off := le.Uint32(e.key.c[40:])
		c, err := h.cell(off, "", 4*count)
		if err != nil {
			return err
		}
		if len(c) >= 4*(count+1) {
			h.writeUint32(off+4+uint32(4*count), value)
			h.writeUint32(e.key.off+4+36, uint32(count+1))
			return nil
		}
		if err := h.release(off); err != nil {
			return err
		}
	}
	var list []byte
	for _, off := range append(slices.Clone(e.list), value) {
		list = le.AppendUint32(list, off)
	}
	off, err := e.put(list)
	if err != nil {
		return err
	}
	h.writeUint32(e.key.off+4+36, uint32(count+1))
	h.writeUint32(e.key.off+4+40, off)
	return nil
}

func (e *editing) remove() error {
	h, count := e.h, len(e.list)
	if e.index < 0 {
		return fmt.Errorf("%w: value", ErrNotFound)
	}
	if err := e.freeData(); err != nil {
		return err
	}
	if err := h.release(e.value.off); err != nil {
		return err
	}
	off := le.Uint32(e.key.c[40:])
	h.writeUint32(e.key.off+4+36, uint32(count-1))
	if count == 1 {
		h.writeUint32(e.key.off+4+40, noCell)
		return h.release(off)
	}
	for i := e.index; i < count-1; i++ {
		h.writeUint32(off+4+uint32(4*i), e.list[i+1])
	}
	return nil
}

// raise makes a maximum in the key node, at byte at, no less than n.
func (e *editing) raise(at uint32, n int) {
	if le.Uint32(e.key.c[at:]) < uint32(n) {
		e.h.writeUint32(e.key.off+4+at, uint32(n))
	}
}

// freeData releases the cells of the value's data.
func (e *editing) freeData() error {
	h := e.h
	n, inline := e.value.size()
	if inline || n == 0 {
		return nil
	}
	off := e.value.dataCell()
	if h.isBigData(off, n) {
		list, segments, err := h.segments(off, n)
		if err != nil {
			return err
		}
		for _, s := range append(segments, list) {
			if err := h.release(s); err != nil {
				return err
			}
		}
	}
	return h.release(off)
}

// put stores data in a new cell, near the key if it can.
func (e *editing) put(data []byte) (uint32, error) {
	off, err := e.h.alloc(len(data), e.key.off)
	if err != nil {
		return 0, err
	}
	padded := make([]byte, roundUp(len(data)+4, 8)-4)
	copy(padded, data)
	e.h.write(off+4, padded)
	return off, nil
}

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
// pages.
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
		return 0, fmt.Errorf("%w for %d bytes", ErrNoSpace, n)
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
