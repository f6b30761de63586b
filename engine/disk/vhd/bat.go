package vhd

import (
	"io"

	"imageport/engine/disk/container"
)

// The BAT is read in pieces of 64 KiB, 16,384 blocks: 32 GiB of disk in blocks
// of 2 MiB.
const (
	batPieceSize  = 64 << 10
	batPieceCount = batPieceSize / batEntrySize
)

const batEntryName = "BAT entry"

// table is the block allocation table: the sector number of each block's
// bitmap, which the block's data follows, or absent.
type table struct {
	r      io.ReaderAt
	off    int64 // in the file
	geo    geometry
	space  *layout // of everything but blocks
	pieces *container.Table
}

// lookup gives the file offset of a block's bitmap or, of an absent block, 0
// and how many blocks from it to last are absent, as far as one piece tells.
func (t *table) lookup(block, last int64) (off, absentBlocks int64, err error) {
	number := block / batPieceCount
	piece, err := t.pieces.Piece(number, func() ([]byte, error) { return t.load(number) })
	if err != nil {
		return 0, 0, err
	}
	entries := piece[block%batPieceCount*batEntrySize:]
	if entry := be.Uint32(entries); entry != absent {
		return int64(entry) * SectorSize, 0, nil
	}
	for len(entries) > 0 && block+absentBlocks <= last && be.Uint32(entries) == absent {
		entries = entries[batEntrySize:]
		absentBlocks++
	}
	return 0, absentBlocks, nil
}

// load reads a piece and verifies all of it.
func (t *table) load(number int64) ([]byte, error) {
	p, err := t.read(number)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(p); i += batEntrySize {
		block := number*batPieceCount + int64(i/batEntrySize)
		if err := t.verify(block, be.Uint32(p[i:])); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// pieceCount is the number of pieces that the disk needs.
func (t *table) pieceCount() int64 { return (t.geo.blocks() + batPieceCount - 1) / batPieceCount }

// read reads a piece.
func (t *table) read(number int64) ([]byte, error) {
	first := number * batPieceCount
	p := make([]byte, min(batPieceCount, t.geo.blocks()-first)*batEntrySize)
	return p, readFull(t.r, "BAT", t.off+first*batEntrySize, p)
}

// entryOffset is where the entry of a block lies in the file.
func (t *table) entryOffset(block int64) int64 { return t.off + block*batEntrySize }

// verify checks that a block lies in the file, as far as it lies in the disk,
// and off the other structures.
func (t *table) verify(block int64, entry uint32) error {
	if entry == absent {
		return nil
	}
	start := int64(entry) * SectorSize
	end := t.geo.blockEnd(block, start)
	if end > t.space.end {
		return corrupt(batEntryName, t.entryOffset(block), "block %d at %#x to %#x, but the file's data ends at %#x", block, start, end, t.space.end)
	}
	if other := t.space.overlaps(start, end); other != nil {
		return corrupt(batEntryName, t.entryOffset(block), "block %d at %#x, which belongs to the %s at %#x", block, start, other.structure, other.start)
	}
	return nil
}
