package hive

import (
	"slices"
	"unicode/utf16"
)

// Subkey lists: their kind, 2 number of entries, 4 the entries in the order of
// the names. An entry is a key's cell; in a fast leaf (lf) the first four
// characters of the name follow, in a hash leaf (lh) its hash. The entries of an
// index (ri) are lists.
const (
	listFast  = "lf"
	listHash  = "lh"
	listPlain = "li"
	listIndex = "ri"

	// Subkeys in one list: as many as let the list fit in a page.
	maxList  = (pageSize - binHeaderSize - 8) / 8
	maxIndex = 0xffff

	hashMinor = 5 // hash leaves appeared in version 1.5
)

type subkeyList struct {
	off     uint32
	kind    string
	entries []byte
	room    int // bytes for entries in the cell
}

func listWidth(kind string) int {
	if kind == listFast || kind == listHash {
		return 8
	}
	return 4
}

func (l subkeyList) width() int { return listWidth(l.kind) }
func (l subkeyList) count() int { return len(l.entries) / l.width() }

func (l subkeyList) cell(i int) uint32 { return le.Uint32(l.entries[i*l.width():]) }

func (h *Hive) subkeyList(off uint32) (subkeyList, error) {
	c, err := h.cell(off, "", 4)
	if err != nil {
		return subkeyList{}, err
	}
	l := subkeyList{off: off, kind: string(c[:2]), room: len(c) - 4}
	if !slices.Contains([]string{listFast, listHash, listPlain, listIndex}, l.kind) {
		return l, corrupt(off, "subkey list begins with %q", c[:2])
	}
	count := int(le.Uint16(c[2:]))
	if n := count * l.width(); n <= l.room {
		l.entries = c[4 : 4+n]
		return l, nil
	}
	return l, corrupt(off, "%d subkeys in a list of %d bytes", count, len(c))
}

// leafKind is the kind of lists that Windows writes in a version.
func leafKind(minor uint32) string {
	if minor >= hashMinor {
		return listHash
	}
	return listFast
}

// newList is the contents of a list's cell.
func newList(kind string, entries []byte) []byte {
	c := le.AppendUint16([]byte(kind), uint16(len(entries)/listWidth(kind)))
	return append(c, entries...)
}

// appendListEntry appends the entry of a key in a leaf.
func appendListEntry(entries []byte, kind string, key uint32, name string) []byte {
	entries = le.AppendUint32(entries, key)
	switch kind {
	case listHash:
		entries = le.AppendUint32(entries, nameHash(name))
	case listFast:
		entries = le.AppendUint32(entries, nameHint(name))
	}
	return entries
}

// nameHint is the first four characters of a name, 0 if the whole name must be
// compared.
func nameHint(name string) uint32 {
	var first [4]byte
	for i, u := range utf16.Encode([]rune(name)) {
		if i == len(first) {
			break
		}
		if u > 0xff {
			return 0
		}
		first[i] = byte(u)
	}
	return le.Uint32(first[:])
}
