package hive

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// CreateKey adds the key at path and those above it that are missing. A key that
// is added has the security descriptor of its parent and the given time; keys
// that are there stay as they are. Errors are ErrNoSpace, ErrDirty and
// ErrCorrupt; after one, the hive is as it was.
func (h *Hive) CreateKey(path []string, modified time.Time) error {
	err := h.atomically(func() error {
		names := splitPath(path)
		if len(names) >= maxDepth {
			return fmt.Errorf("more than %d deep", maxDepth)
		}
		n, err := h.newReading().open(nil)
		for i := 0; err == nil && i < len(names); i++ {
			var sub keyNode
			sub, err = h.newReading().find(n, names[i])
			if errors.Is(err, ErrNotFound) {
				sub, err = h.addKey(n, names[i], modified)
			}
			n = sub
		}
		if err != nil {
			return err
		}
		if got, err := h.newReading().open(names); err != nil || got.off != n.off {
			return corrupt(n.off, "the key is not found once it is written, cells are shared (%v)", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("create key %q: %w", path, err)
	}
	return nil
}

// addKey adds a subkey to a key that has none of that name.
func (h *Hive) addKey(parent keyNode, name string, modified time.Time) (keyNode, error) {
	if n := utf16Len(name); n > maxKeyName {
		return keyNode{}, fmt.Errorf("name of %d characters, want at most %d", n, maxKeyName)
	}
	stored, compressed := encodeName(name)
	var flags uint16
	if compressed {
		flags = flagCompressed
	}
	security := h.field(parent, 44)
	if security != noCell {
		c, err := h.cell(security, "sk", securityNodeSize)
		if err != nil {
			return keyNode{}, err
		}
		h.writeUint32(security+4+12, le.Uint32(c[12:])+1)
	}
	off, err := h.put(newKeyCell(stored, flags, modified, parent.off, security), parent.off)
	if err != nil {
		return keyNode{}, err
	}
	if err := h.link(parent, off, name); err != nil {
		return keyNode{}, err
	}
	// The upper half holds flags.
	if longest := h.field(parent, 52); longest&0xffff < uint32(2*utf16Len(name)) {
		h.setField(parent, 52, longest&^0xffff|uint32(2*utf16Len(name)))
	}
	return h.keyNode(off)
}

// link enters the key at off in its parent's list of subkeys.
func (h *Hive) link(parent keyNode, off uint32, name string) error {
	count, at := h.field(parent, 20), h.field(parent, 28)
	h.setField(parent, 20, count+1)
	if count == 0 {
		kind := leafKind(h.minor)
		list, err := h.put(newList(kind, appendListEntry(nil, kind, off, name)), parent.off)
		if err != nil {
			return err
		}
		h.setField(parent, 28, list)
		return nil
	}
	list, err := h.subkeyList(at)
	if err != nil {
		return err
	}
	var index subkeyList
	if list.kind == listIndex {
		index = list
		if at, list, err = h.leafFor(index, name); err != nil {
			return err
		}
	}
	leaves, err := h.insert(list, off, name)
	if err != nil {
		return err
	}
	var entries []byte
	for _, l := range leaves {
		entries = le.AppendUint32(entries, l)
	}
	switch {
	case index.kind == listIndex: // at is the leaf's place in it
		at *= uint32(index.width())
		entries = slices.Replace(slices.Clone(index.entries), int(at), int(at)+index.width(), entries...)
		at, err = h.rewrite(index, entries)
	case len(leaves) > 1:
		at, err = h.put(newList(listIndex, entries), parent.off)
	default:
		at = leaves[0]
	}
	if err != nil {
		return err
	}
	h.setField(parent, 28, at)
	return nil
}

// leafFor returns the leaf of an index in which a name belongs: the last one
// that begins with a lesser name, or the first.
func (h *Hive) leafFor(index subkeyList, name string) (uint32, subkeyList, error) {
	place, leaf := uint32(0), subkeyList{}
	for i := range index.count() {
		l, err := h.subkeyList(index.cell(i))
		if err != nil {
			return 0, leaf, err
		}
		if l.kind == listIndex {
			return 0, leaf, corrupt(l.off, "an index of subkey lists in another one")
		}
		if i > 0 && l.count() > 0 {
			first, err := h.keyNode(l.cell(0))
			if err != nil {
				return 0, leaf, err
			}
			if compareNames(first.name(), name) > 0 {
				break
			}
		}
		place, leaf = uint32(i), l
	}
	if leaf.kind == "" {
		return 0, leaf, corrupt(index.off, "an index without subkey lists")
	}
	return place, leaf, nil
}

// insert puts a key into a leaf and returns the leaves in its place: one, or two
// if it was full.
func (h *Hive) insert(leaf subkeyList, key uint32, name string) ([]uint32, error) {
	i := 0
	for ; i < leaf.count(); i++ {
		n, err := h.keyNode(leaf.cell(i))
		if err != nil {
			return nil, err
		}
		if compareNames(n.name(), name) > 0 {
			break
		}
	}
	entries := slices.Insert(slices.Clone(leaf.entries), i*leaf.width(), appendListEntry(nil, leaf.kind, key, name)...)
	if leaf.count() < maxList {
		off, err := h.rewrite(leaf, entries)
		return []uint32{off}, err
	}
	half := len(entries) / leaf.width() / 2 * leaf.width()
	off, err := h.rewrite(leaf, entries[:half])
	if err != nil {
		return nil, err
	}
	second, err := h.put(newList(leaf.kind, entries[half:]), off)
	return []uint32{off, second}, err
}

// rewrite gives a list other entries, in its cell if they fit, and returns its
// cell.
func (h *Hive) rewrite(l subkeyList, entries []byte) (uint32, error) {
	c := newList(l.kind, entries)
	if len(entries) <= l.room {
		h.write(l.off+4, c)
		return l.off, nil
	}
	if err := h.release(l.off); err != nil {
		return 0, err
	}
	return h.put(c, l.off)
}
