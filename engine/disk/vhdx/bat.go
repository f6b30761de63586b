package vhdx

import (
	"io"

	"imageport/engine/disk/container"
)

// bat finds and verifies the entries of the block allocation table,
// [MS-VHDX] 2.5, when they are asked for.
type bat struct {
	tables       *tableReader
	offset       int64 // of the BAT in the file
	geo          geometry
	differencing bool
	space        *structures
}

// newBAT checks that the region, which lies inside the file, is big enough.
func newBAT(tables *tableReader, where region, geo geometry, differencing bool, space *structures) (*bat, error) {
	off, count := int64(where.offset), geo.batEntries(differencing)
	if count*8 > int64(where.length) {
		return nil, corrupt("BAT", off, "found %d bytes, expected %d for a disk of %d bytes", where.length, count*8, geo.virtualSize)
	}
	return &bat{tables, off, geo, differencing, space}, nil
}

const (
	payloadEntryName = "payload BAT entry"
	bitmapEntryName  = "sector bitmap BAT entry"
)

// payload gives the entry of a payload block, [MS-VHDX] 2.5.1.1, and the
// space of the file that it takes if its state has data.
func (b *bat) payload(block int64) (entry batEntry, space fileRange, err error) {
	at := b.offset + 8*b.geo.payloadEntry(block)
	if entry, err = b.entry(at); err != nil {
		return 0, fileRange{}, err
	}
	if entry&batReservedMask != 0 {
		return 0, fileRange{}, corrupt(payloadEntryName, at, "found reserved bits in %#x of block %d", uint64(entry), block)
	}
	switch state := entry.state(); state {
	case blockNotPresent, blockUndefined, blockZero, blockUnmapped:
		return entry, fileRange{}, nil // the offset is reserved or a hint
	case blockFullyPresent:
	case blockPartiallyPresent:
		if !b.differencing {
			return 0, fileRange{}, corrupt(payloadEntryName, at, "block %d is partially present in an image without parent", block)
		}
	default:
		return 0, fileRange{}, corrupt(payloadEntryName, at, "found state %d of block %d, which is reserved", state, block)
	}
	space, err = b.space.verifyBlock(payloadEntryName, at, entry, b.geo.blockSize, b.geo.blockLength(block))
	return entry, space, err
}

// bitmap gives the entry of a chunk's sector bitmap block, [MS-VHDX] 2.5.1.2.
func (b *bat) bitmap(chunk int64) (entry batEntry, space fileRange, err error) {
	at := b.offset + 8*b.geo.bitmapEntry(chunk)
	if entry, err = b.entry(at); err != nil {
		return 0, fileRange{}, err
	}
	switch state := entry.state(); {
	case entry&batReservedMask != 0:
		return 0, fileRange{}, corrupt(bitmapEntryName, at, "found reserved bits in %#x of bitmap %d", uint64(entry), chunk)
	case state == bitmapNotPresent:
		return entry, fileRange{}, nil
	case state == bitmapPresent && b.differencing:
		space, err = b.space.verifyBlock(bitmapEntryName, at, entry, mib, mib)
		return entry, space, err
	default:
		return 0, fileRange{}, corrupt(bitmapEntryName, at, "found state %d of bitmap %d, which is not valid here", state, chunk)
	}
}

// bitmapOf is the sector bitmap entry for a block that is partially present:
// it must have one.
func (b *bat) bitmapOf(block int64) (batEntry, fileRange, error) {
	entry, space, err := b.bitmap(block / b.geo.chunkRatio)
	if err == nil && entry.state() != bitmapPresent {
		at := b.offset + 8*b.geo.payloadEntry(block)
		return 0, fileRange{}, corrupt(payloadEntryName, at, "block %d is partially present, but has no sector bitmap", block)
	}
	return entry, space, err
}

// bitmapChunks is how many chunks have a sector bitmap entry: the last chunk
// of a fixed or dynamic image ends with its payload.
func (b *bat) bitmapChunks() int64 {
	if b.differencing {
		return b.geo.chunks()
	}
	return b.geo.chunks() - 1
}

func (b *bat) entry(at int64) (batEntry, error) {
	p, err := b.tables.read(at, 8)
	if err != nil {
		return 0, err
	}
	return batEntry(le.Uint64(p)), nil
}

// Tables are read in pieces of 64 KiB: BAT entries of 16 GiB of disk with
// blocks of 2 MiB, or sector bitmaps of 256 MiB with sectors of 512 bytes.
const tablePieceSize = 64 << 10

// tableReader reads structures of whole MiB, the BAT or the sector bitmaps,
// through a cache.
type tableReader struct {
	r         io.ReaderAt
	structure string
	pieces    *container.Table
}

// read gives n bytes at off in the file, which lie in one piece. They must not
// be changed.
func (t *tableReader) read(off, n int64) ([]byte, error) {
	start := off &^ (tablePieceSize - 1)
	piece, err := t.pieces.Piece(start, func() ([]byte, error) {
		p := make([]byte, tablePieceSize)
		return p, readFull(t.r, t.structure, start, p)
	})
	if err != nil {
		return nil, err
	}
	return piece[off-start:][:n], nil
}
