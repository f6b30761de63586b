package ntfs

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Flags of an index entry.
const (
	entryHasChild = 0x1 // a block with the names that come before this one
	entryLast     = 0x2 // closes its node and has no name
)

// Name spaces of $FILE_NAME. The others are for names that Windows shows.
const namespaceDOS = 2

const (
	collationFileName = 1
	minBlockSize      = 512
	maxBlockSize      = 64 << 10
	// maxDepth is far beyond any directory: 4 KiB blocks hold at least 7
	// names each.
	maxDepth = 16
	// maxBatch bounds the index blocks read in one request, in bytes.
	maxBatch = 256 << 10
)

// directory is the index of a directory by name: a B-tree whose root node is
// in $INDEX_ROOT, and whose other nodes are the blocks of $INDEX_ALLOCATION.
type directory struct {
	vol       *Volume
	rec       *record
	root      []byte  // the root node
	blocks    *stream // nil in small directories
	blockSize int64
	vcnSize   int64 // bytes in the unit of block addresses
}

// blockKey names an index block in the cache: the directory, sequence number
// included, and the block's offset in $INDEX_ALLOCATION.
type blockKey struct {
	dir    reference
	offset int64
}

// indexEntry is one entry of a node: the name of a file in the directory.
type indexEntry struct {
	ref       reference
	name      []uint16
	namespace byte
	flags     uint16
	child     int64 // address of the child, if any
}

func (v *Volume) directory(rec *record) (*directory, error) {
	s, err := v.stream(rec, typeIndexRoot, "$I30")
	if err != nil {
		return nil, err
	}
	if s == nil || s.nonResident || len(s.resident) < 0x20 {
		return nil, corruptf("MFT record %d, $INDEX_ROOT: missing, non-resident or short in a directory", rec.number)
	}
	root := s.resident
	d := &directory{vol: v, rec: rec, root: root[0x10:]}
	if typ, collation := binary.LittleEndian.Uint32(root), binary.LittleEndian.Uint32(root[4:]); typ != typeFileName || collation != collationFileName {
		return nil, corruptf("%s: an index of attribute 0x%x with collation %d in a directory", s, typ, collation)
	}
	d.blockSize = int64(binary.LittleEndian.Uint32(root[8:]))
	if !powerOfTwo(d.blockSize) || d.blockSize < minBlockSize || d.blockSize > maxBlockSize {
		return nil, corruptf("%s: index blocks of %d bytes", s, d.blockSize)
	}
	d.vcnSize = v.clusterSize
	if d.vcnSize > d.blockSize {
		d.vcnSize = stride
	}
	if d.blocks, err = v.stream(rec, typeIndexAllocation, "$I30"); err != nil {
		return nil, err
	}
	if b := d.blocks; b != nil && (!b.nonResident || b.flags&(flagSparse|flagEncrypted|flagCompressionMask) != 0) {
		return nil, corruptf("%s: resident, or with flags 0x%04x", b, b.flags)
	}
	return d, nil
}

func (d *directory) corruptf(format string, args ...any) error {
	return corruptf("MFT record %d, directory index: %s", d.rec.number, fmt.Sprintf(format, args...))
}

// entries parses a node, which begins with its header.
func (d *directory) entries(node []byte) ([]indexEntry, error) {
	if len(node) < 0x10 {
		return nil, d.corruptf("a node of %d bytes", len(node))
	}
	at, end := int64(binary.LittleEndian.Uint32(node)), int64(binary.LittleEndian.Uint32(node[4:]))
	if at < 0x10 || end > int64(len(node)) {
		return nil, d.corruptf("entries from 0x%x to 0x%x in a node of %d bytes", at, end, len(node))
	}
	var entries []indexEntry
	for {
		if end-at < 0x10 {
			return nil, d.corruptf("a node without closing entry")
		}
		b := node[at:end]
		length := int(binary.LittleEndian.Uint16(b[8:]))
		e := indexEntry{
			ref:   reference(binary.LittleEndian.Uint64(b)),
			flags: binary.LittleEndian.Uint16(b[12:]),
		}
		key := 0x10
		if e.flags&entryLast == 0 {
			key += 0x42
			if key <= len(b) {
				key += 2 * int(b[0x50])
			}
		}
		need := key
		if e.flags&entryHasChild != 0 {
			need += 8
		}
		if length < need || length > len(b) {
			return nil, d.corruptf("entry at 0x%x of its node: length %d, want %d to %d", at, length, need, len(b))
		}
		if e.flags&entryHasChild != 0 {
			e.child = int64(binary.LittleEndian.Uint64(b[length-8:]))
		}
		if e.flags&entryLast == 0 {
			if parent := reference(binary.LittleEndian.Uint64(b[0x10:])); parent.number() != d.rec.number {
				return nil, d.corruptf("entry at 0x%x of its node belongs to directory %d", at, parent.number())
			}
			e.namespace = b[0x51]
			e.name = decodeUnits(b[0x52:key])
		}
		entries = append(entries, e)
		if e.flags&entryLast != 0 {
			return entries, nil
		}
		at += int64(length)
	}
}

// block reads one index block and returns its node.
func (d *directory) block(address int64) ([]byte, error) {
	if d.blocks == nil {
		return nil, d.corruptf("a child in a directory without $INDEX_ALLOCATION")
	}
	if address < 0 || address > math.MaxInt64/d.vcnSize {
		return nil, d.corruptf("a child at block address %d", address)
	}
	offset := address * d.vcnSize
	if offset%d.blockSize != 0 || offset > d.blocks.size-d.blockSize {
		return nil, d.corruptf("a child at offset %d of $INDEX_ALLOCATION, which has %d bytes", offset, d.blocks.size)
	}
	key := blockKey{d.rec.reference(), offset}
	b, ok := d.vol.blocks.get(key)
	if !ok {
		b = make([]byte, d.blockSize)
		if _, err := d.blocks.ReadAt(b, offset); err != nil {
			return nil, err
		}
		if err := d.check(b, offset); err != nil {
			return nil, err
		}
		d.vol.blocks.put(key, b)
	}
	return b[0x18:], nil
}

// check undoes the fixups of the index block read from offset.
func (d *directory) check(b []byte, offset int64) error {
	if magic := string(b[:4]); magic != "INDX" {
		return d.corruptf("index block at offset %d: signature %q, want \"INDX\"", offset, magic)
	}
	if err := undoFixups(b); err != nil {
		return d.corruptf("index block at offset %d: %v", offset, err)
	}
	if address := binary.LittleEndian.Uint64(b[0x10:]); address != uint64(offset/d.vcnSize) {
		return d.corruptf("index block at offset %d: says that it is block %d, want %d", offset, address, offset/d.vcnSize)
	}
	return nil
}

// lookup finds a name, in any case; among names that differ only in case (as
// POSIX programs make them) the one with the very case wins. Short (8.3) names
// are found too.
func (d *directory) lookup(name string) (indexEntry, bool, error) {
	want := encodeName(name)
	node := d.root
	var found indexEntry
	var ok bool
	for range maxDepth {
		entries, err := d.entries(node)
		if err != nil {
			return found, false, err
		}
		at := entries[len(entries)-1]
		for _, e := range entries[:len(entries)-1] {
			order := d.vol.upCase.compare(want, e.name)
			if order == 0 {
				found, ok = e, true
				order = slices.Compare(want, e.name)
			}
			if order == 0 {
				return e, true, nil
			}
			if order < 0 {
				at = e
				break
			}
		}
		if at.flags&entryHasChild == 0 {
			return found, ok, nil
		}
		if node, err = d.block(at.child); err != nil {
			return found, false, err
		}
	}
	return found, false, d.corruptf("more than %d levels", maxDepth)
}

// all lists the entries of the directory, in no order: those of the root node,
// and of every block that $BITMAP says is in use.
func (d *directory) all() ([]indexEntry, error) {
	list, err := d.named(nil, d.root)
	if err != nil || d.blocks == nil {
		return list, err
	}
	s, err := d.vol.stream(d.rec, typeBitmap, "$I30")
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, d.corruptf("$INDEX_ALLOCATION without $BITMAP")
	}
	blocks := d.blocks.size / d.blockSize
	bitmap, err := s.readAll(blocks/8 + d.vol.clusterSize)
	if err != nil {
		return nil, err
	}
	blocks = min(blocks, 8*int64(len(bitmap)))
	used := func(i int64) bool { return i < blocks && bitmap[i/8]>>(i%8)&1 != 0 }
	for i := int64(0); i < blocks; i++ {
		n := int64(0)
		for used(i+n) && (n+1)*d.blockSize <= maxBatch {
			n++
		}
		if n == 0 {
			continue
		}
		batch := make([]byte, n*d.blockSize)
		if _, err := d.blocks.ReadAt(batch, i*d.blockSize); err != nil {
			return nil, err
		}
		for at := int64(0); at < n; at++ {
			offset := (i + at) * d.blockSize
			b := slices.Clone(batch[at*d.blockSize : (at+1)*d.blockSize])
			if err := d.check(b, offset); err != nil {
				return nil, err
			}
			if list, err = d.named(list, b[0x18:]); err != nil {
				return nil, err
			}
			d.vol.blocks.put(blockKey{d.rec.reference(), offset}, b)
		}
		i += n - 1
	}
	return list, nil
}

// named appends the entries of a node that ReadDir shows: not those of
// metadata files, nor short names, whose files have a long one too.
func (d *directory) named(list []indexEntry, node []byte) ([]indexEntry, error) {
	entries, err := d.entries(node)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.flags&entryLast == 0 && e.namespace != namespaceDOS && e.ref.number() >= firstUserRecord {
			list = append(list, e)
		}
	}
	return list, nil
}
