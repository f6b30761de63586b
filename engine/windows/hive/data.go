package hive

import (
	"fmt"
	"slices"
)

// Value cells, vk:
//
//	0  "vk"    2 length of the name    4 length of the data; bit 31: it is in the next word
//	8  cell of the data    12 type    16 flags, bit 0: the name is Latin-1    20 the name
const valueNodeSize = 20

const (
	dataInline      = 1 << 31
	inlineDataMax   = 4
	valueCompressed = 1

	// Data above bigData bytes is cut into segments of that size, from version
	// 1.4 on.
	bigData      = 16344
	bigDataMinor = 4
)

type valueNode struct {
	off uint32
	c   []byte
}

func (h *Hive) valueNode(off uint32) (valueNode, error) {
	c, err := h.cell(off, "vk", valueNodeSize)
	if err != nil {
		return valueNode{}, err
	}
	if n := int(le.Uint16(c[2:])); valueNodeSize+n > len(c) {
		return valueNode{}, corrupt(off, "name of %d bytes in a value of %d", n, len(c))
	}
	return valueNode{off, c}, nil
}

func (v valueNode) name() string {
	return decodeName(v.c[valueNodeSize:][:le.Uint16(v.c[2:])], le.Uint16(v.c[16:])&valueCompressed != 0)
}

// size is the length of the data; inline says that it is in the value's cell.
func (v valueNode) size() (n uint32, inline bool) {
	n = le.Uint32(v.c[4:])
	return n &^ dataInline, n&dataInline != 0
}

func (v valueNode) dataCell() uint32 { return le.Uint32(v.c[8:]) }

func (r *reading) data(v valueNode) ([]byte, error) {
	n, inline := v.size()
	switch {
	case inline && n > inlineDataMax:
		return nil, corrupt(v.off, "%d bytes of data in the value's cell", n)
	case inline:
		return append([]byte{}, v.c[8:8+n]...), nil
	case n == 0:
		return []byte{}, nil
	}
	off := v.dataCell()
	if err := r.spend(off, int(n)); err != nil {
		return nil, err
	}
	if r.h.isBigData(off, n) {
		return r.bigData(off, n)
	}
	c, err := r.h.cell(off, "", int(n))
	if err != nil {
		return nil, err
	}
	return append([]byte{}, c[:n]...), nil
}

// isBigData reports whether n bytes of data at off are cut into segments.
func (h *Hive) isBigData(off, n uint32) bool {
	if h.minor < bigDataMinor || n <= bigData {
		return false
	}
	_, err := h.cell(off, "db", 8)
	return err == nil
}

// segments returns the cells of big data: db, then 2 number of segments, 4 their
// list.
func (h *Hive) segments(off, n uint32) (list uint32, segments []uint32, err error) {
	c, err := h.cell(off, "db", 8)
	if err != nil {
		return 0, nil, err
	}
	count := int(le.Uint16(c[2:]))
	if want := (int64(n) + bigData - 1) / bigData; int64(count) != want {
		return 0, nil, corrupt(off, "%d segments for %d bytes of data, want %d", count, n, want)
	}
	list = le.Uint32(c[4:])
	if c, err = h.cell(list, "", 4*count); err != nil {
		return 0, nil, err
	}
	for i := range count {
		segments = append(segments, le.Uint32(c[4*i:]))
	}
	return list, segments, nil
}

func (r *reading) bigData(off, n uint32) ([]byte, error) {
	_, segments, err := r.h.segments(off, n)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, n)
	for _, seg := range segments {
		part := min(bigData, int(n)-len(data))
		c, err := r.h.cell(seg, "", part)
		if err != nil {
			return nil, err
		}
		data = append(data, c[:part]...)
	}
	return data, nil
}

// newValueCell is the contents of the cell of v; store keeps data that does not
// fit in it.
func newValueCell(v Value, store func([]byte) (uint32, error)) ([]byte, error) {
	name, compressed := encodeName(v.Name)
	c := make([]byte, valueNodeSize, valueNodeSize+len(name))
	copy(c, "vk")
	le.PutUint16(c[2:], uint16(len(name)))
	if compressed && len(name) > 0 {
		le.PutUint16(c[16:], valueCompressed)
	}
	if err := setValueData(c, v, store); err != nil {
		return nil, err
	}
	return append(c, name...), nil
}

// setValueData sets type and data in the value cell c.
func setValueData(c []byte, v Value, store func([]byte) (uint32, error)) error {
	size, word := uint32(len(v.Data)), [4]byte{}
	if len(v.Data) <= inlineDataMax {
		size |= dataInline
		copy(word[:], v.Data)
	} else {
		off, err := store(v.Data)
		if err != nil {
			return err
		}
		le.PutUint32(word[:], off)
	}
	le.PutUint32(c[4:], size)
	copy(c[8:12], word[:])
	le.PutUint32(c[12:], v.Type)
	return nil
}

// putData stores data in one cell, or as big data: segments, their list, and a
// db cell that is returned.
func putData(data []byte, minor uint32, put func([]byte) (uint32, error)) (uint32, error) {
	if len(data) <= bigData || minor < bigDataMinor {
		return put(data)
	}
	var list []byte
	for part := range slices.Chunk(data, bigData) {
		off, err := put(part)
		if err != nil {
			return 0, err
		}
		list = le.AppendUint32(list, off)
	}
	if len(list)/4 > 0xffff {
		return 0, fmt.Errorf("%d bytes of data", len(data))
	}
	off, err := put(list)
	if err != nil {
		return 0, err
	}
	c := le.AppendUint16([]byte("db"), uint16(len(list)/4))
	return put(le.AppendUint32(c, off))
}
