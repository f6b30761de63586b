package hive

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The base block, the first page of the file:
//
//	0   "regf"
//	4   sequence number before the last write     8   after it
//	12  FILETIME of the last write
//	20  major version    24  minor version
//	28  file type, 0 = primary file    32  file format, 1
//	36  cell of the root key           40  bytes in the bins
//	44  clustering factor, 1           48  last 32 characters of the file's name
//	112 GUIDs of the resource manager and of its log
//	144 flags, bit 0: a transaction is pending
//	508 XOR of the 127 words before it
const (
	baseBlockSize = 4096
	pageSize      = 4096
	binHeaderSize = 32
	checksumAt    = 508

	fileTypePrimary = 0

	// noCell stands where there is no cell. Cell offsets count from the first
	// bin.
	noCell = 0xffffffff

	// The configuration manager refuses deeper trees.
	maxDepth = 512
)

// Hive is a registry hive in memory. It is not safe for concurrent use while
// it is being changed.
type Hive struct {
	b     []byte // the whole file
	bins  []byte // the part of b that is bins
	minor uint32
	dirty bool
	used  bitmap // where allocated cells begin, in units of 8 bytes

	// For edits in place.
	limit  int                 // length that the file may grow to
	parsed int                 // length of the file that was parsed
	free   []uint32            // offsets of free cells, ascending; nil until the first edit
	pages  map[uint32]struct{} // pages of the bins that edits have changed
	undo   []undoRecord        // what the running edit has overwritten
}

// Parse reads the base block and the layout of bins and cells of a hive. It
// keeps a copy of b. Errors are ErrNotHive, ErrCorrupt, and ErrDirty for a hive
// that cannot be made sense of before its logs are applied.
func Parse(b []byte) (*Hive, error) {
	if len(b) < baseBlockSize || string(b[:4]) != "regf" {
		return nil, fmt.Errorf("%w: no base block with signature \"regf\" in %d bytes", ErrNotHive, len(b))
	}
	if err := checkPrimary(b); err != nil {
		return nil, err
	}
	seq1, seq2 := le.Uint32(b[4:]), le.Uint32(b[8:])
	sum := checksum(b)
	h := &Hive{
		b:      slices.Clone(b),
		minor:  le.Uint32(b[24:]),
		parsed: len(b),
		dirty:  seq1 != seq2 || sum != le.Uint32(b[checksumAt:]),
	}
	err := h.index()
	if err != nil && h.dirty {
		return nil, fmt.Errorf("%w (sequence numbers %d and %d, checksum %#x for %#x; %v)",
			ErrDirty, seq1, seq2, le.Uint32(b[checksumAt:]), sum, err)
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// checkPrimary checks that a base block is one that we read.
func checkPrimary(b []byte) error {
	if err := checkVersion(b); err != nil {
		return fmt.Errorf("%w: %w", ErrNotHive, err)
	}
	if typ, format := le.Uint32(b[28:]), le.Uint32(b[32:]); typ != fileTypePrimary || format != 1 {
		return fmt.Errorf("%w: file type %d, format %d, want 0 and 1", ErrNotHive, typ, format)
	}
	return nil
}

func checkVersion(b []byte) error {
	if major, minor := le.Uint32(b[20:]), le.Uint32(b[24:]); major != 1 || minor < 3 || minor > 6 {
		return fmt.Errorf("version %d.%d, want 1.3 to 1.6", major, minor)
	}
	return nil
}

// index checks that bins and cells tile the hive, and notes where allocated
// cells begin.
func (h *Hive) index() error {
	size := le.Uint32(h.b[40:])
	if size == 0 || size%pageSize != 0 || int64(size) > int64(len(h.b)-baseBlockSize) {
		return fmt.Errorf("%w: base block says %#x bytes of bins, file has %#x", ErrCorrupt, size, len(h.b)-baseBlockSize)
	}
	h.bins = h.b[baseBlockSize:][:size]
	h.used = newBitmap(size / 8)
	for bin := uint32(0); bin < size; {
		c := h.bins[bin:]
		n := le.Uint32(c[8:])
		if string(c[:4]) != "hbin" || le.Uint32(c[4:]) != bin {
			return corrupt(bin, "no bin header: % x", c[:8])
		}
		if n == 0 || n%pageSize != 0 || n > size-bin {
			return corrupt(bin, "bin of %#x bytes, %#x left", n, size-bin)
		}
		end := bin + n
		for off := bin + binHeaderSize; off < end; {
			n, used := cellSize(h.bins[off:])
			if n < 8 || n%8 != 0 || n > end-off {
				return corrupt(off, "cell of %#x bytes, %#x left in its bin", n, end-off)
			}
			if used {
				h.used.set(off / 8)
			}
			off += n
		}
		bin = end
	}
	return nil
}

// cellSize decodes a cell's first word: its size in bytes, that word included,
// and whether it is allocated.
func cellSize(c []byte) (n uint32, used bool) {
	n = le.Uint32(c)
	if int32(n) < 0 {
		return -n, true
	}
	return n, false
}

// cell returns the contents of an allocated cell, of at least min bytes; sig is
// the signature it must have, if not empty.
func (h *Hive) cell(off uint32, sig string, min int) ([]byte, error) {
	if off%8 != 0 || int64(off) >= int64(len(h.bins)) || !h.used.get(off/8) {
		return nil, corrupt(off, "no allocated cell here, want one %q", sig)
	}
	n, _ := cellSize(h.bins[off:])
	c := h.bins[off+4 : off+n : off+n]
	if len(c) < min {
		return nil, corrupt(off, "cell %q of %d bytes, want %d", sig, len(c), min)
	}
	if sig != "" && string(c[:2]) != sig {
		return nil, corrupt(off, "cell begins with %q, want %q", c[:2], sig)
	}
	return c, nil
}

// Dirty reports that the last write of the hive did not complete, so that its
// contents are only right after its transaction logs are applied.
func (h *Hive) Dirty() bool { return h.dirty }

// Version is the minor version of the format, 3 to 6.
func (h *Hive) Version() uint32 { return h.minor }

// Bytes is the hive as a file. The slice is the hive's own: it must not be
// changed. Later edits show in it, unless they make the file longer.
func (h *Hive) Bytes() []byte { return h.b }

// Commit marks the edits as complete, as a flush does: both sequence numbers go
// up by one, and the base block gets the time and its checksum. A dirty hive is
// left as it is.
func (h *Hive) Commit(now time.Time) {
	if h.dirty {
		return
	}
	le.PutUint64(h.b[12:], toFiletime(now))
	seal(h.b, le.Uint32(h.b[4:])+1)
}

// seal gives a base block its sequence number, twice, and its checksum.
func seal(b []byte, seq uint32) {
	le.PutUint32(b[4:], seq)
	le.PutUint32(b[8:], seq)
	le.PutUint32(b[checksumAt:], checksum(b))
}

// baseBlockName is the end of the path that Windows knew the hive by.
func baseBlockName(b []byte) string {
	name, _, _ := strings.Cut(decodeUTF16(b[48:112]), "\x00")
	return name
}

func checksum(b []byte) uint32 {
	var x uint32
	for i := 0; i < checksumAt; i += 4 {
		x ^= le.Uint32(b[i:])
	}
	switch x { // the two values with a meaning of their own
	case 0:
		return 1
	case 0xffffffff:
		return 0xfffffffe
	}
	return x
}

type bitmap []uint64

func newBitmap(n uint32) bitmap    { return make(bitmap, (n+63)/64) }
func (m bitmap) get(i uint32) bool { return m[i/64]>>(i%64)&1 != 0 }
func (m bitmap) set(i uint32)      { m[i/64] |= 1 << (i % 64) }
func (m bitmap) unset(i uint32)    { m[i/64] &^= 1 << (i % 64) }
