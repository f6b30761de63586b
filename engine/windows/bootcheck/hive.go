package bootcheck

import (
	"context"
	"encoding/binary"
	"io"
	"iter"
	"strings"
	"unicode/utf16"
)

// Limits of a hive. A SYSTEM hive has some 20 MB, a boot configuration 32 KiB.
const (
	mostHiveBytes = 256 << 20
	mostBinBytes  = 16 << 20
	binAlign      = 4096
)

// hive is a registry hive that was written to its end, for reading. Offsets are
// those of the format: from the first bin, which is 4096 bytes into the file.
type hive struct {
	what string // for errors, such as "BCD"
	bins []byte
	root uint32
	left int64 // what may still be read, in bytes: see cell
}

// readHive reads a hive. Its base block must say that it is complete, and its
// bins must follow each other to its end.
func readHive(ctx context.Context, r io.ReaderAt, size int64, what string) (*hive, error) {
	base := make([]byte, binAlign)
	if err := readAt(r, base, 0, what); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(base[:4]) != "regf" {
		return nil, wrong("%s: begins with %q, expected \"regf\"", what, base[:4])
	}
	if first, second := le.Uint32(base[4:]), le.Uint32(base[8:]); first != second {
		return nil, wrong("%s: sequence numbers are %d and %d, expected the same: the hive was not written to its end", what, first, second)
	}
	if stored, sum := le.Uint32(base[508:]), baseChecksum(base); stored != sum {
		return nil, wrong("%s: checksum of the base block is 0x%08x, expected 0x%08x", what, stored, sum)
	}
	major, minor, kind, format := le.Uint32(base[20:]), le.Uint32(base[24:]), le.Uint32(base[28:]), le.Uint32(base[32:])
	if major != 1 || minor < 3 || minor > 6 || kind != 0 || format != 1 {
		return nil, wrong("%s: version %d.%d of type %d, format %d, expected 1.3 to 1.6 of type 0, format 1", what, major, minor, kind, format)
	}
	length := int64(le.Uint32(base[40:]))
	if length == 0 || length%binAlign != 0 || length > min(size-binAlign, mostHiveBytes) {
		return nil, wrong("%s: %d bytes of bins, expected a multiple of %d up to %d", what, length, binAlign, min(size-binAlign, mostHiveBytes))
	}
	h := &hive{what: what, root: le.Uint32(base[36:]), left: 16 * (length + 1<<16)}
	return h, h.readBins(ctx, io.NewSectionReader(r, binAlign, length), length)
}

// readBins reads the bins one by one, so that a file of nothing but holes does
// not cost what it claims to hold.
func (h *hive) readBins(ctx context.Context, r io.ReaderAt, length int64) error {
	le := binary.LittleEndian
	binEnd := int64(0) // of those whose headers were read
	buf := make([]byte, min(length, 1<<20))
	for off := int64(0); off < length; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), length-off)]
		if err := readAt(r, p, off, h.what); err != nil {
			return err
		}
		for end := off + int64(len(p)); binEnd < end; {
			b := p[binEnd-off:] // bins and pieces are multiples of 4096 bytes
			at, n := int64(le.Uint32(b[4:])), int64(le.Uint32(b[8:]))
			if string(b[:4]) != "hbin" || at != binEnd || n == 0 || n%binAlign != 0 || n > min(length-binEnd, mostBinBytes) {
				return wrong("%s: bin at byte %d is %q at %d of %d bytes, expected \"hbin\" at %d, ending by %d",
					h.what, binAlign+binEnd, b[:4], at, n, binEnd, length)
			}
			binEnd += n
		}
		h.bins = append(h.bins, p...)
		off += int64(len(p))
	}
	return nil
}

// baseChecksum is the XOR of the 127 numbers before the checksum; two results
// have another meaning.
func baseChecksum(base []byte) uint32 {
	sum := uint32(0)
	for i := 0; i < 508; i += 4 {
		sum ^= binary.LittleEndian.Uint32(base[i:])
	}
	switch sum {
	case 0:
		return 1
	case 0xffffffff:
		return 0xfffffffe
	}
	return sum
}

// cell gives what is in a cell that is in use, at least least bytes. Cells that
// lists name again and again are not read for ever: all that is read is counted,
// and a hive that is read once, or some times, is far from the limit.
func (h *hive) cell(off uint32, least int, what string) ([]byte, error) {
	if int64(off)+8 > int64(len(h.bins)) || off%8 != 0 {
		return nil, wrong("%s: %s at offset 0x%x, expected a multiple of 8 below 0x%x", h.what, what, off, len(h.bins))
	}
	size := -int64(int32(binary.LittleEndian.Uint32(h.bins[off:])))
	if size < int64(least)+4 || int64(off)+size > int64(len(h.bins)) {
		return nil, wrong("%s: %s at offset 0x%x has a cell of %d bytes, expected %d to %d in use", h.what, what, off, size, least+4, int64(len(h.bins))-int64(off))
	}
	if h.left -= int64(least) + 4; h.left < 0 {
		return nil, wrong("%s: lists name the same cells again and again, such as the %s at offset 0x%x", h.what, what, off)
	}
	return h.bins[off+4 : int64(off)+size], nil
}

// key is a key node (nk).
type key struct {
	h    *hive
	name string
	node []byte
}

func (h *hive) keyAt(off uint32) (key, error) {
	b, err := h.cell(off, 76, "key")
	if err != nil {
		return key{}, err
	}
	le := binary.LittleEndian
	n := int(le.Uint16(b[72:]))
	h.left -= int64(n)
	if string(b[:2]) != "nk" || 76+n > len(b) {
		return key{}, wrong("%s: key at offset 0x%x is %q with a name of %d bytes, expected \"nk\" and at most %d", h.what, off, b[:2], n, len(b)-76)
	}
	const compressed = 0x20
	return key{h: h, name: hiveName(b[76:][:n], le.Uint16(b[2:])&compressed != 0), node: b}, nil
}

// hiveName decodes a name, of one byte a character if compressed.
func hiveName(b []byte, compressed bool) string {
	var s []uint16
	if compressed {
		for _, c := range b {
			s = append(s, uint16(c))
		}
	} else {
		for ; len(b) >= 2; b = b[2:] {
			s = append(s, binary.LittleEndian.Uint16(b))
		}
	}
	return string(utf16.Decode(s))
}

// find follows a path of names, in any case. A key that is not there is no
// error.
func (h *hive) find(path ...string) (key, bool, error) {
	k, err := h.keyAt(h.root)
	if err != nil {
		return key{}, false, err
	}
	for _, name := range path {
		found := false
		for sub, err := range k.subkeys() {
			if err != nil {
				return key{}, false, err
			}
			if found = strings.EqualFold(sub.name, name); found {
				k = sub
				break
			}
		}
		if !found {
			return key{}, false, nil
		}
	}
	return k, true, nil
}

// subkeys gives the stable subkeys, as many as the key says it has.
func (k key) subkeys() iter.Seq2[key, error] {
	return func(yield func(key, error) bool) {
		le := binary.LittleEndian
		count := int64(le.Uint32(k.node[20:]))
		if count == 0 {
			return
		}
		const leastKey = 80 // bytes of its cell
		if count > int64(len(k.h.bins))/leastKey {
			yield(key{}, wrong("%s: key %q says it has %d subkeys, more than the hive has room for", k.h.what, k.name, count))
			return
		}
		got := int64(0)
		stopped := false
		err := k.h.list(le.Uint32(k.node[28:]), 0, func(off uint32) bool {
			sub, err := k.h.keyAt(off)
			got++
			stopped = got > count || !yield(sub, err) || err != nil
			return !stopped
		})
		switch {
		case err != nil:
			yield(key{}, err)
		case got > count || !stopped && got < count:
			yield(key{}, wrong("%s: key %q has %d subkeys or more in its list, expected %d", k.h.what, k.name, got, count))
		}
	}
}

// list gives the offsets in a subkey list until do is false: an index of lists
// (ri) or a list with hashes (lf, lh) or without (li).
func (h *hive) list(off uint32, depth int, do func(off uint32) bool) error {
	b, err := h.cell(off, 4, "subkey list")
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	kind, n, step := string(b[:2]), int(le.Uint16(b[2:])), 4
	switch kind {
	case "lf", "lh":
		step = 8
	case "li":
	case "ri":
		if depth > 0 {
			return wrong("%s: subkey list at offset 0x%x is an index within an index", h.what, off)
		}
	default:
		return wrong("%s: subkey list at offset 0x%x is %q, expected lf, lh, li or ri", h.what, off, kind)
	}
	if n == 0 || 4+n*step > len(b) {
		return wrong("%s: subkey list at offset 0x%x has %d entries, expected 1 to %d", h.what, off, n, (len(b)-4)/step)
	}
	more := true
	for i := 0; i < n && more; i++ {
		at := le.Uint32(b[4+i*step:])
		if kind != "ri" {
			more = do(at)
			continue
		}
		err := h.list(at, depth+1, func(off uint32) bool {
			more = do(off)
			return more
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// value is a value of a key.
type value struct {
	name string
	kind uint32 // REG_SZ is 1, REG_BINARY 3, REG_DWORD 4, REG_MULTI_SZ 7
	data []byte
}

// mostValueBytes is what a value can have without being split into segments.
// Nothing that is looked for here is as long.
const mostValueBytes = 16344

// values gives the values of a key, without the data of those that are split.
func (k key) values() iter.Seq2[value, error] {
	return func(yield func(value, error) bool) {
		le := binary.LittleEndian
		n := int64(le.Uint32(k.node[36:]))
		if n == 0 {
			return
		}
		if n > int64(len(k.h.bins))/4 {
			yield(value{}, wrong("%s: key %q says it has %d values, more than the hive has room for", k.h.what, k.name, n))
			return
		}
		list, err := k.h.cell(le.Uint32(k.node[40:]), int(n)*4, "value list of key "+k.name)
		if err != nil {
			yield(value{}, err)
			return
		}
		for i := range n {
			v, err := k.h.valueAt(le.Uint32(list[4*i:]))
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// value finds a value by its name, in any case.
func (k key) value(name string) (value, bool, error) {
	for v, err := range k.values() {
		if err != nil {
			return value{}, false, err
		}
		if strings.EqualFold(v.name, name) {
			return v, true, nil
		}
	}
	return value{}, false, nil
}

func (h *hive) valueAt(off uint32) (value, error) {
	b, err := h.cell(off, 20, "value")
	if err != nil {
		return value{}, err
	}
	le := binary.LittleEndian
	n, size, at := int(le.Uint16(b[2:])), le.Uint32(b[4:]), le.Uint32(b[8:])
	h.left -= int64(n)
	if string(b[:2]) != "vk" || 20+n > len(b) {
		return value{}, wrong("%s: value at offset 0x%x is %q with a name of %d bytes, expected \"vk\" and at most %d", h.what, off, b[:2], n, len(b)-20)
	}
	const compressed = 1
	v := value{name: hiveName(b[20:][:n], le.Uint16(b[16:])&compressed != 0), kind: le.Uint32(b[12:])}
	const inPlace = 1 << 31
	if size&inPlace != 0 {
		if size &^= inPlace; size > 4 {
			return value{}, wrong("%s: value %q has %d bytes in place, expected at most 4", h.what, v.name, size)
		}
		v.data = b[8:][:size]
		return v, nil
	}
	if size == 0 || size > mostValueBytes {
		return v, nil
	}
	data, err := h.cell(at, 4, "data of value "+v.name)
	if err != nil {
		return value{}, err
	}
	if int(size) > len(data) {
		return value{}, wrong("%s: value %q has %d bytes in a cell of %d", h.what, v.name, size, len(data)+4)
	}
	v.data = data[:size]
	return v, nil
}
