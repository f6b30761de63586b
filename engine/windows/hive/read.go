package hive

import (
	"fmt"
	"slices"
	"time"
)

// Key node cells, nk:
//
//	0   "nk"    2 flags    4 FILETIME of the last write
//	16  parent
//	20  number of subkeys    24 of volatile ones    28 their list    32 the volatile ones'
//	36  number of values     40 their list
//	44  security cell        48 class name
//	52  longest subkey name, in bytes of UTF-16 (low 16 bits; flags above)
//	56  longest subkey class    60 longest value name    64 largest value data
//	72  length of the name   74 of the class    76 the name
const keyNodeSize = 76

type keyNode struct {
	off uint32
	c   []byte
}

func (h *Hive) keyNode(off uint32) (keyNode, error) {
	c, err := h.cell(off, "nk", keyNodeSize)
	if err != nil {
		return keyNode{}, err
	}
	if n := int(le.Uint16(c[72:])); keyNodeSize+n > len(c) {
		return keyNode{}, corrupt(off, "name of %d bytes in a key node of %d", n, len(c))
	}
	return keyNode{off, c}, nil
}

// newKeyCell is the contents of the cell of a key without subkeys, values and
// class.
func newKeyCell(name []byte, flags uint16, modified time.Time, parent, security uint32) []byte {
	c := make([]byte, keyNodeSize, keyNodeSize+len(name))
	copy(c, "nk")
	le.PutUint16(c[2:], flags)
	le.PutUint64(c[4:], toFiletime(modified))
	le.PutUint32(c[16:], parent)
	for _, list := range []int{28, 32, 40, 48} {
		le.PutUint32(c[list:], noCell)
	}
	le.PutUint32(c[44:], security)
	le.PutUint16(c[72:], uint16(len(name)))
	return append(c, name...)
}

func (n keyNode) flags() uint16 { return le.Uint16(n.c[2:]) }

func (n keyNode) name() string {
	return decodeName(n.c[keyNodeSize:][:le.Uint16(n.c[72:])], n.flags()&flagCompressed != 0)
}

// Security cells: "sk", 4 next, 8 previous, 12 references, 16 length of the
// descriptor, 20 the descriptor.
const securityNodeSize = 20

// reading is one pass over a hive. Cells of a sound hive are referred to once,
// so that all it reads fits in the bins; a hive whose cells are shared or form a
// cycle runs out of budget.
type reading struct {
	h        *Hive
	budget   int
	security map[uint32][]byte
}

func (h *Hive) newReading() *reading {
	return &reading{h: h, budget: len(h.bins), security: map[uint32][]byte{}}
}

func (r *reading) spend(off uint32, n int) error {
	if r.budget -= n; r.budget < 0 {
		return corrupt(off, "cells are referred to more than once: more data than the bins hold")
	}
	return nil
}

// node reads the key node at off, once.
func (r *reading) node(off uint32) (keyNode, error) {
	n, err := r.h.keyNode(off)
	if err != nil {
		return n, err
	}
	return n, r.spend(off, len(n.c))
}

// subkeys returns the cells of the subkeys of n, volatile ones excluded.
func (r *reading) subkeys(n keyNode) ([]uint32, error) {
	count := le.Uint32(n.c[20:])
	if count == 0 {
		return nil, nil
	}
	off := le.Uint32(n.c[28:])
	list, err := r.appendList(nil, off, false)
	if err != nil {
		return nil, fmt.Errorf("subkeys of %q: %w", n.name(), err)
	}
	if uint32(len(list)) != count {
		return nil, corrupt(off, "list of %d subkeys, key %q has %d", len(list), n.name(), count)
	}
	return list, nil
}

// appendList appends the subkeys in the list at off. An index (ri) holds lists
// of the other kinds only.
func (r *reading) appendList(list []uint32, off uint32, inIndex bool) ([]uint32, error) {
	l, err := r.h.subkeyList(off)
	if err != nil {
		return nil, err
	}
	if l.kind == listIndex && inIndex {
		return nil, corrupt(off, "an index of subkey lists in another one")
	}
	if err := r.spend(off, 4+len(l.entries)); err != nil {
		return nil, err
	}
	for entry := range slices.Chunk(l.entries, l.width()) {
		sub := le.Uint32(entry)
		if l.kind != listIndex {
			list = append(list, sub)
		} else if list, err = r.appendList(list, sub, true); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// find returns the subkey of that name.
func (r *reading) find(n keyNode, name string) (keyNode, error) {
	list, err := r.subkeys(n)
	if err != nil {
		return keyNode{}, err
	}
	for _, off := range list {
		sub, err := r.node(off)
		if err != nil {
			return keyNode{}, err
		}
		if sameName(sub.name(), name) {
			return sub, nil
		}
	}
	return keyNode{}, fmt.Errorf("%w: key %q below %q", ErrNotFound, name, n.name())
}

// open returns the key node at path.
func (r *reading) open(path []string) (keyNode, error) {
	n, err := r.node(le.Uint32(r.h.b[36:]))
	if err != nil {
		return n, fmt.Errorf("root key: %w", err)
	}
	for _, name := range splitPath(path) {
		if n, err = r.find(n, name); err != nil {
			return n, err
		}
	}
	return n, nil
}

// valueList returns the cells of the values of n.
func (r *reading) valueList(n keyNode) ([]uint32, error) {
	count := le.Uint32(n.c[36:])
	if count == 0 {
		return nil, nil
	}
	off := le.Uint32(n.c[40:])
	c, err := r.h.cell(off, "", 4)
	if err != nil {
		return nil, fmt.Errorf("values of %q: %w", n.name(), err)
	}
	if int64(count)*4 > int64(len(c)) {
		return nil, corrupt(off, "%d values of %q in a list of %d bytes", count, n.name(), len(c))
	}
	if err := r.spend(off, int(count)*4); err != nil {
		return nil, err
	}
	list := make([]uint32, count)
	for i := range list {
		list[i] = le.Uint32(c[4*i:])
	}
	return list, nil
}

func (r *reading) values(n keyNode) ([]Value, error) {
	list, err := r.valueList(n)
	if err != nil {
		return nil, err
	}
	var values []Value
	for _, off := range list {
		v, err := r.h.valueNode(off)
		if err != nil {
			return nil, fmt.Errorf("values of %q: %w", n.name(), err)
		}
		if err := r.spend(off, len(v.c)); err != nil {
			return nil, err
		}
		data, err := r.data(v)
		if err != nil {
			return nil, fmt.Errorf("value %q of %q: %w", v.name(), n.name(), err)
		}
		values = append(values, Value{Name: v.name(), Type: le.Uint32(v.c[12:]), Data: data})
	}
	return values, nil
}

// descriptor returns the security descriptor in the cell at off. Keys share
// these cells, and the slices.
func (r *reading) descriptor(off uint32) ([]byte, error) {
	if d, ok := r.security[off]; ok {
		return d, nil
	}
	c, err := r.h.cell(off, "sk", securityNodeSize)
	if err != nil {
		return nil, err
	}
	n := le.Uint32(c[16:])
	if int64(n) > int64(len(c)-securityNodeSize) {
		return nil, corrupt(off, "security descriptor of %d bytes in a cell of %d", n, len(c))
	}
	if err := r.spend(off, len(c)); err != nil {
		return nil, err
	}
	d := append([]byte{}, c[securityNodeSize:][:n]...)
	r.security[off] = d
	return d, nil
}

// key reads the key at n with its values, without its subkeys.
func (r *reading) key(n keyNode) (*Key, error) {
	k := &Key{
		Name:     n.name(),
		Modified: fromFiletime(le.Uint64(n.c[4:])),
		Flags:    n.flags() &^ (flagCompressed | flagHiveEntry | flagVolatile),
	}
	var err error
	if off := le.Uint32(n.c[44:]); off != noCell {
		if k.Security, err = r.descriptor(off); err != nil {
			return nil, fmt.Errorf("security of %q: %w", k.Name, err)
		}
	}
	if size := int(le.Uint16(n.c[74:])); size > 0 {
		off := le.Uint32(n.c[48:])
		c, err := r.h.cell(off, "", size)
		if err != nil {
			return nil, fmt.Errorf("class of %q: %w", k.Name, err)
		}
		if err := r.spend(off, size); err != nil {
			return nil, err
		}
		k.Class = append([]byte{}, c[:size]...)
	}
	k.Values, err = r.values(n)
	return k, err
}

func (r *reading) tree(n keyNode, depth int) (*Key, error) {
	if depth > maxDepth {
		return nil, corrupt(n.off, "keys more than %d deep", maxDepth)
	}
	k, err := r.key(n)
	if err != nil {
		return nil, err
	}
	list, err := r.subkeys(n)
	if err != nil {
		return nil, err
	}
	for _, off := range list {
		sub, err := r.node(off)
		if err != nil {
			return nil, fmt.Errorf("subkeys of %q: %w", k.Name, err)
		}
		s, err := r.tree(sub, depth+1)
		if err != nil {
			return nil, err
		}
		k.Subkeys = append(k.Subkeys, s)
	}
	return k, nil
}

// Root reads the whole tree.
func (h *Hive) Root() (*Key, error) {
	r := h.newReading()
	n, err := r.open(nil)
	if err != nil {
		return nil, err
	}
	return r.tree(n, 1)
}

// Lookup reads one key with its values; its Subkeys are nil. The error is
// ErrNotFound if there is none.
func (h *Hive) Lookup(path ...string) (*Key, error) {
	r := h.newReading()
	n, err := r.open(path)
	if err != nil {
		return nil, err
	}
	return r.key(n)
}

// SubkeyNames lists the subkeys of a key, in the hive's order.
func (h *Hive) SubkeyNames(path ...string) ([]string, error) {
	r := h.newReading()
	n, err := r.open(path)
	if err != nil {
		return nil, err
	}
	list, err := r.subkeys(n)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, off := range list {
		sub, err := r.node(off)
		if err != nil {
			return nil, err
		}
		names = append(names, sub.name())
	}
	return names, nil
}
