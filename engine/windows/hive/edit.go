package hive

import (
	"bytes"
	"fmt"
	"slices"
)

// SetValue adds a value to the key at path, or replaces the one of that name.
// Nothing else in the hive changes, not even the key's time. The errors are
// ErrNotFound (no such key), ErrNoSpace, ErrDirty and ErrCorrupt; after one, the
// hive is as it was. Commit completes a series of edits. The hive gets longer
// only as far as AllowGrowth permits.
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

// edit runs change on a value of the key at path.
func (h *Hive) edit(path []string, name string, change func(*editing) error) error {
	err := h.atomically(func() error {
		e, err := h.newEditing(path, name)
		if err != nil {
			return err
		}
		return change(e)
	})
	if err != nil {
		return fmt.Errorf("edit value %q of %q: %w", name, path, err)
	}
	return nil
}

// atomically runs change, and takes back what it did if it fails.
func (h *Hive) atomically(change func() error) error {
	if h.dirty {
		return ErrDirty
	}
	if h.free == nil {
		h.collectFree()
	}
	base, length := [sectorSize]byte(h.b), len(h.b)
	err := change()
	undo := h.undo
	h.undo = nil
	if err == nil {
		return nil
	}
	for _, u := range slices.Backward(undo) {
		copy(h.bins[u.off:], u.old)
	}
	copy(h.b, base[:])
	h.b, h.free = h.b[:length], nil
	if reindex := h.index(); reindex != nil {
		return reindex
	}
	return err
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
		off := h.field(e.key, 40)
		c, err := h.cell(off, "", 4*count)
		if err != nil {
			return err
		}
		if len(c) >= 4*(count+1) {
			h.writeUint32(off+4+uint32(4*count), value)
			h.setField(e.key, 36, uint32(count+1))
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
	h.setField(e.key, 36, uint32(count+1))
	h.setField(e.key, 40, off)
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
	off := h.field(e.key, 40)
	h.setField(e.key, 36, uint32(count-1))
	if count == 1 {
		h.setField(e.key, 40, noCell)
		return h.release(off)
	}
	for i := e.index; i < count-1; i++ {
		h.writeUint32(off+4+uint32(4*i), e.list[i+1])
	}
	return nil
}

// raise makes a maximum in the key node, at byte at, no less than n.
func (e *editing) raise(at uint32, n int) {
	if e.h.field(e.key, at) < uint32(n) {
		e.h.setField(e.key, at, uint32(n))
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

// put stores data near the key.
func (e *editing) put(data []byte) (uint32, error) { return e.h.put(data, e.key.off) }
