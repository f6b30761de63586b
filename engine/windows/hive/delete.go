package hive

import (
	"errors"
	"fmt"
	"slices"
)

// DeleteKey removes the key at path with everything below it, and gives the
// space back to the hive, which does not get shorter. Not even the parent's time
// changes. Errors are ErrNotFound, ErrDirty and ErrCorrupt; after one, the hive
// is as it was. The root cannot be deleted.
func (h *Hive) DeleteKey(path ...string) error {
	err := h.atomically(func() error {
		names := splitPath(path)
		if len(names) == 0 {
			return errors.New("the root key stays")
		}
		parent, err := h.newReading().open(names[:len(names)-1])
		if err != nil {
			return err
		}
		n, err := h.newReading().find(parent, names[len(names)-1])
		if err != nil {
			return err
		}
		if err := h.unlink(parent, n.off); err != nil {
			return err
		}
		if err := h.releaseTree(h.newReading(), n, h.field(parent, 44), 1); err != nil {
			return err
		}
		// A cell that the key shared with its parent would be gone.
		if _, err := h.newReading().key(parent); err != nil {
			return err
		}
		if _, err := h.newReading().open(names); !errors.Is(err, ErrNotFound) {
			return corrupt(n.off, "the key is still found after it is deleted (%v)", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete key %q: %w", path, err)
	}
	return nil
}

// unlink takes the key at off out of its parent's list of subkeys.
func (h *Hive) unlink(parent keyNode, off uint32) error {
	count, at := h.field(parent, 20), h.field(parent, 28)
	list, err := h.subkeyList(at)
	if err != nil {
		return err
	}
	h.setField(parent, 20, count-1)
	if list.kind != listIndex {
		left, err := h.removeEntry(list, off)
		if err == nil && left == 0 {
			h.setField(parent, 28, noCell)
			err = h.release(at)
		}
		return err
	}
	for i := range list.count() {
		leaf, err := h.subkeyList(list.cell(i))
		if err != nil {
			return err
		}
		if leaf.kind == listIndex || leaf.place(off) < 0 {
			continue
		}
		left, err := h.removeEntry(leaf, off)
		if err != nil || left > 0 {
			return err
		}
		if err := h.release(leaf.off); err != nil {
			return err
		}
		left, err = h.removeEntry(list, leaf.off)
		if err == nil && left == 0 {
			h.setField(parent, 28, noCell)
			err = h.release(at)
		}
		return err
	}
	return corrupt(at, "no list of the index has the key at %#x", int64(off)+baseBlockSize)
}

// place is where in a list a cell is, -1 if it is not.
func (l subkeyList) place(off uint32) int {
	for i := range l.count() {
		if l.cell(i) == off {
			return i
		}
	}
	return -1
}

// removeEntry takes a cell out of a list, and says how many are left in it.
func (h *Hive) removeEntry(l subkeyList, off uint32) (left int, err error) {
	i := l.place(off)
	if i < 0 {
		return 0, corrupt(l.off, "the list does not have the cell at %#x", int64(off)+baseBlockSize)
	}
	w := l.width()
	h.write(l.off+4, newList(l.kind, slices.Delete(slices.Clone(l.entries), i*w, (i+1)*w)))
	return l.count() - 1, nil
}

// releaseTree frees the cells of a key that is in no list any more, and of what
// is below it. kept is the security cell of the key's parent, which is needed
// whatever its count of references says.
func (h *Hive) releaseTree(r *reading, n keyNode, kept uint32, depth int) error {
	if depth > maxDepth {
		return corrupt(n.off, "keys more than %d deep", maxDepth)
	}
	list, err := r.subkeys(n)
	if err != nil {
		return err
	}
	for _, off := range list {
		sub, err := r.node(off)
		if err != nil {
			return err
		}
		if err := h.releaseTree(r, sub, kept, depth+1); err != nil {
			return err
		}
	}
	if len(list) > 0 {
		if err := h.releaseLists(h.field(n, 28)); err != nil {
			return err
		}
	}
	if err := h.releaseValues(r, n); err != nil {
		return err
	}
	if le.Uint16(n.c[74:]) > 0 {
		if err := h.release(h.field(n, 48)); err != nil {
			return err
		}
	}
	if security := h.field(n, 44); security != noCell {
		if err := h.releaseSecurity(security, kept); err != nil {
			return err
		}
	}
	return h.release(n.off)
}

// releaseLists frees a list of subkeys, and those in it if it is an index.
func (h *Hive) releaseLists(off uint32) error {
	l, err := h.subkeyList(off)
	if err != nil {
		return err
	}
	if l.kind == listIndex {
		for i := range l.count() {
			if err := h.release(l.cell(i)); err != nil {
				return err
			}
		}
	}
	return h.release(off)
}

// releaseValues frees the values of a key and their list.
func (h *Hive) releaseValues(r *reading, n keyNode) error {
	list, err := r.valueList(n)
	if err != nil || len(list) == 0 {
		return err
	}
	for _, off := range list {
		v, err := h.valueNode(off)
		if err != nil {
			return err
		}
		if err := (&editing{h: h, value: v}).freeData(); err != nil {
			return err
		}
		if err := h.release(off); err != nil {
			return err
		}
	}
	return h.release(h.field(n, 40))
}

// releaseSecurity takes one reference from a security cell. The last one frees
// it, and closes the ring of these cells behind it.
func (h *Hive) releaseSecurity(off, kept uint32) error {
	c, err := h.cell(off, "sk", securityNodeSize)
	if err != nil {
		return err
	}
	references := le.Uint32(c[12:])
	if references > 1 {
		h.writeUint32(off+4+12, references-1)
		return nil
	}
	next, previous := le.Uint32(c[4:]), le.Uint32(c[8:])
	if references == 0 || off == kept || next == off || previous == off {
		return corrupt(off, "security cell with %d references has more", references)
	}
	for _, beside := range []struct{ cell, field, to uint32 }{{previous, 4, next}, {next, 8, previous}} {
		b, err := h.cell(beside.cell, "sk", securityNodeSize)
		if err != nil {
			return err
		}
		if got := le.Uint32(b[beside.field:]); got != off {
			return corrupt(beside.cell, "security cell links to %#x, not to the one at %#x", int64(got)+baseBlockSize, int64(off)+baseBlockSize)
		}
		h.writeUint32(beside.cell+4+beside.field, beside.to)
	}
	return h.release(off)
}
