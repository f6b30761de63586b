package hive

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf16"
)

// BuildOptions says how to write a hive.
type BuildOptions struct {
	Minor     uint32    // 3 as in boot configuration stores, or 5, the default
	FileName  string    // its last 31 characters are kept in the base block
	Modified  time.Time // of the hive, and of keys that have no time of their own
	FreeBytes int       // unused space to leave in one free cell, for later edits in place
}

// Limits of the configuration manager, and ours for the size of a hive.
const (
	maxKeyName   = 255   // characters
	maxValueName = 16383 // characters
	maxClass     = 0xffff
	maxBins      = 512 << 20
)

// Build writes the tree below root as a hive. Subkeys are put into the order
// that Windows needs; values stay in theirs. It refuses names that are empty,
// too long or not unique, and trees deeper than 512 keys.
func Build(root *Key, opt BuildOptions) ([]byte, error) {
	switch opt.Minor {
	case 0:
		opt.Minor = 5
	case 3, 5:
	default:
		return nil, fmt.Errorf("build hive: version 1.%d, want 1.3 or 1.5", opt.Minor)
	}
	w := &builder{opt: opt, security: map[string]uint32{}}
	off, err := w.key(root, noCell, 1)
	if err != nil {
		return nil, fmt.Errorf("build hive: %w", err)
	}
	w.linkSecurity()
	if opt.FreeBytes > 0 {
		w.reserve(opt.FreeBytes)
	}
	w.closeBin()
	return append(w.baseBlock(off), w.bins...), nil
}

type builder struct {
	opt  BuildOptions
	bins []byte
	bin  uint32 // offset of the open bin
	next uint32 // offset of the next cell in it

	security   map[string]uint32 // descriptor -> cell
	securities []uint32          // those cells in order of creation
}

func (w *builder) baseBlock(root uint32) []byte {
	b := make([]byte, baseBlockSize)
	copy(b, "regf")
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], 1)
	le.PutUint64(b[12:], toFiletime(w.opt.Modified))
	le.PutUint32(b[20:], 1)
	le.PutUint32(b[24:], w.opt.Minor)
	le.PutUint32(b[32:], 1)
	le.PutUint32(b[36:], root)
	le.PutUint32(b[40:], uint32(len(w.bins)))
	le.PutUint32(b[44:], 1)
	name := encodeUTF16(w.opt.FileName)
	copy(b[48:48+62], name[max(0, len(name)-62):])
	le.PutUint32(b[checksumAt:], checksum(b))
	return b
}

// reserve makes the open bin hold one free cell of at least n bytes.
func (w *builder) reserve(n int) {
	if need := roundUp(n+4, 8); uint32(need) > uint32(len(w.bins))-w.next {
		w.closeBin()
		w.openBin(need)
	}
}

func (w *builder) openBin(need int) {
	n := roundUp(binHeaderSize+need, pageSize)
	w.bin = uint32(len(w.bins))
	w.bins = append(w.bins, make([]byte, n)...)
	c := w.bins[w.bin:]
	copy(c, "hbin")
	le.PutUint32(c[4:], w.bin)
	le.PutUint32(c[8:], uint32(n))
	if w.bin == 0 { // only the first bin's time is used
		le.PutUint64(c[20:], toFiletime(w.opt.Modified))
	}
	w.next = w.bin + binHeaderSize
}

// closeBin makes what is left of the open bin a free cell.
func (w *builder) closeBin() {
	if left := uint32(len(w.bins)) - w.next; left > 0 {
		le.PutUint32(w.bins[w.next:], left)
		w.next += left
	}
}

// alloc makes a cell for n bytes and returns its offset. Offsets, not slices,
// are kept across calls: the bins move as they grow.
func (w *builder) alloc(n int) (uint32, error) {
	need := roundUp(n+4, 8)
	if len(w.bins)+need > maxBins {
		return 0, fmt.Errorf("tree needs more than %d MiB", maxBins>>20)
	}
	if uint32(need) > uint32(len(w.bins))-w.next {
		w.closeBin()
		w.openBin(need)
	}
	off := w.next
	le.PutUint32(w.bins[off:], -uint32(need))
	w.next += uint32(need)
	return off, nil
}

func (w *builder) put(data []byte) (uint32, error) {
	off, err := w.alloc(len(data))
	if err == nil {
		copy(w.at(off), data)
	}
	return off, err
}

func (w *builder) at(off uint32) []byte { return w.bins[off+4:] }

// key writes k and all below it, and returns its cell.
func (w *builder) key(k *Key, parent uint32, depth int) (uint32, error) {
	name, compressed := encodeName(k.Name)
	if n := utf16Len(k.Name); n == 0 || n > maxKeyName {
		return 0, fmt.Errorf("key name %.40q of %d characters, want 1 to %d", k.Name, n, maxKeyName)
	}
	if depth > maxDepth {
		return 0, fmt.Errorf("key %q is more than %d deep", k.Name, maxDepth)
	}
	off, err := w.alloc(keyNodeSize + len(name))
	if err != nil {
		return 0, err
	}
	fail := func(err error) (uint32, error) { return 0, fmt.Errorf("%q: %w", k.Name, err) }
	values, err := w.values(k.Values)
	if err != nil {
		return fail(err)
	}
	class := uint32(noCell)
	if len(k.Class) > maxClass {
		return fail(fmt.Errorf("class of %d bytes", len(k.Class)))
	}
	if len(k.Class) > 0 {
		if class, err = w.put(k.Class); err != nil {
			return fail(err)
		}
	}
	security, err := w.descriptor(k.Security)
	if err != nil {
		return fail(err)
	}
	subkeys, err := w.subkeys(k, off, depth)
	if err != nil {
		return fail(err)
	}

	flags := k.Flags &^ (flagCompressed | flagHiveEntry | flagVolatile)
	if compressed {
		flags |= flagCompressed
	}
	if parent == noCell {
		flags |= flagHiveEntry | FlagNoDelete
	}
	modified := k.Modified
	if modified.IsZero() {
		modified = w.opt.Modified
	}
	c := w.at(off)
	copy(c, newKeyCell(name, flags, modified, parent, security))
	le.PutUint32(c[20:], uint32(len(k.Subkeys)))
	le.PutUint32(c[28:], subkeys)
	le.PutUint32(c[36:], uint32(len(k.Values)))
	le.PutUint32(c[40:], values)
	le.PutUint32(c[48:], class)
	for _, s := range k.Subkeys {
		le.PutUint32(c[52:], max(le.Uint32(c[52:]), uint32(2*utf16Len(s.Name))))
		le.PutUint32(c[56:], max(le.Uint32(c[56:]), uint32(len(s.Class))))
	}
	for _, v := range k.Values {
		le.PutUint32(c[60:], max(le.Uint32(c[60:]), uint32(2*utf16Len(v.Name))))
		le.PutUint32(c[64:], max(le.Uint32(c[64:]), uint32(len(v.Data))))
	}
	le.PutUint16(c[74:], uint16(len(k.Class)))
	return off, nil
}

func (w *builder) subkeys(k *Key, parent uint32, depth int) (uint32, error) {
	if len(k.Subkeys) == 0 {
		return noCell, nil
	}
	sorted := slices.SortedStableFunc(slices.Values(k.Subkeys), func(a, b *Key) int { return compareNames(a.Name, b.Name) })
	kind := leafKind(w.opt.Minor)
	entries := make([]byte, 0, 8*len(sorted))
	for i, s := range sorted {
		if i > 0 && sameName(sorted[i-1].Name, s.Name) {
			return 0, fmt.Errorf("two subkeys %q", s.Name)
		}
		off, err := w.key(s, parent, depth+1)
		if err != nil {
			return 0, err
		}
		entries = appendListEntry(entries, kind, off, s.Name)
	}
	var lists []byte
	for part := range slices.Chunk(entries, 8*maxList) {
		off, err := w.put(newList(kind, part))
		if err != nil {
			return 0, err
		}
		lists = le.AppendUint32(lists, off)
	}
	switch n := len(lists) / 4; {
	case n == 1:
		return le.Uint32(lists), nil
	case n > maxIndex:
		return 0, fmt.Errorf("%d subkeys", len(sorted))
	}
	return w.put(newList(listIndex, lists))
}

func (w *builder) values(values []Value) (uint32, error) {
	if len(values) == 0 {
		return noCell, nil
	}
	seen := make(map[string]bool, len(values))
	var list []byte
	for _, v := range values {
		if seen[upcase(v.Name)] {
			return 0, fmt.Errorf("two values %q", v.Name)
		}
		seen[upcase(v.Name)] = true
		off, err := w.value(v)
		if err != nil {
			return 0, fmt.Errorf("value %.40q: %w", v.Name, err)
		}
		list = le.AppendUint32(list, off)
	}
	return w.put(list)
}

func (w *builder) value(v Value) (uint32, error) {
	if n := utf16Len(v.Name); n > maxValueName {
		return 0, fmt.Errorf("name of %d characters, want at most %d", n, maxValueName)
	}
	c, err := newValueCell(v, w.data)
	if err != nil {
		return 0, err
	}
	return w.put(c)
}

// data writes data that does not fit in the value's cell.
func (w *builder) data(data []byte) (uint32, error) {
	return putData(data, w.opt.Minor, w.put)
}

// descriptor returns the cell of a security descriptor, shared by the keys that
// have the same one.
func (w *builder) descriptor(d []byte) (uint32, error) {
	if d == nil {
		d = DefaultSecurity
	}
	off, ok := w.security[string(d)]
	if !ok {
		c := make([]byte, securityNodeSize, securityNodeSize+len(d))
		copy(c, "sk")
		le.PutUint32(c[16:], uint32(len(d)))
		var err error
		if off, err = w.put(append(c, d...)); err != nil {
			return 0, err
		}
		w.security[string(d)] = off
		w.securities = append(w.securities, off)
	}
	c := w.at(off)
	le.PutUint32(c[12:], le.Uint32(c[12:])+1)
	return off, nil
}

// linkSecurity makes the security cells the ring that they must form.
func (w *builder) linkSecurity() {
	for i, off := range w.securities {
		next := w.securities[(i+1)%len(w.securities)]
		le.PutUint32(w.at(off)[4:], next)
		le.PutUint32(w.at(next)[8:], off)
	}
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

func utf16Len(s string) int { return len(utf16.Encode([]rune(s))) }
