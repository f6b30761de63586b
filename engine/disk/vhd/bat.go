package vhd

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// The BAT is read in pieces of 64 KiB, 16,384 blocks, of which 4 MiB are kept:
// all of it for a disk of 2 TiB in blocks of 2 MiB.
const (
	batPieceSize  = 64 << 10
	batPieceCount = batPieceSize / batEntrySize
	cachedPieces  = 64
)

// table is the block allocation table: the sector number of each block's
// bitmap, which the block's data follows, or absent.
type table struct {
	r      io.ReaderAt
	off    int64 // in the file
	geo    geometry
	space  *layout // of everything but blocks
	pieces *cache
}

func newTable(r io.ReaderAt, off int64, geo geometry, space *layout) *table {
	return &table{r: r, off: off, geo: geo, space: space, pieces: newCache(cachedPieces)}
}

// lookup gives the file offset of a block's bitmap or, of an absent block, 0
// and how many blocks from it to last are absent, as far as one piece tells.
func (t *table) lookup(block, last int64) (off, absentBlocks int64, err error) {
	number := block / batPieceCount
	piece, err := t.pieces.get(number, func() ([]byte, error) { return t.read(number) })
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

// read reads a piece and verifies that its blocks lie in the file, as far as
// they lie in the disk, and off the other structures.
func (t *table) read(number int64) ([]byte, error) {
	first := number * batPieceCount
	p := make([]byte, min(batPieceCount, t.geo.blocks()-first)*batEntrySize)
	if err := readFull(t.r, "BAT", t.off+first*batEntrySize, p); err != nil {
		return nil, err
	}
	for i := int64(0); i < int64(len(p)); i += batEntrySize {
		entry := be.Uint32(p[i:])
		if entry == absent {
			continue
		}
		block, at := first+i/batEntrySize, t.off+first*batEntrySize+i
		start := int64(entry) * SectorSize
		end := start + t.geo.bitmapSize() + t.geo.blockLength(block)
		if end > t.space.end {
			return nil, corrupt("BAT entry", at, "block %d at %#x to %#x, but the file's data ends at %#x", block, start, end, t.space.end)
		}
		if other := t.space.overlaps(start, end); other != nil {
			return nil, corrupt("BAT entry", at, "block %d at %#x, which belongs to the %s at %#x", block, start, other.structure, other.start)
		}
	}
	return p, nil
}

// Check verifies what Open leaves to later: the whole BAT, and that no two
// blocks share a place in the file. It reads 4 bytes per block.
func (im *Image) Check(ctx context.Context) error {
	if im.table == nil {
		return nil
	}
	type place struct{ sector, block uint32 }
	var places []place
	blocks := im.geo.blocks()
	for number := int64(0); number*batPieceCount < blocks; number++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("vhd: checking the BAT: %w", err)
		}
		piece, err := im.table.read(number)
		if err != nil {
			return err
		}
		for i := 0; i < len(piece); i += batEntrySize {
			if sector := be.Uint32(piece[i:]); sector != absent {
				places = append(places, place{sector, uint32(number*batPieceCount) + uint32(i/batEntrySize)})
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return int(int64(a.sector) - int64(b.sector)) })
	for i := 1; i < len(places); i++ {
		a, b := places[i-1], places[i]
		end := int64(a.sector)*SectorSize + im.geo.bitmapSize() + im.geo.blockLength(int64(a.block))
		if start := int64(b.sector) * SectorSize; start < end {
			return corrupt("BAT entry", im.table.off+int64(b.block)*batEntrySize,
				"block %d at %#x, but block %d takes the file up to %#x", b.block, start, a.block, end)
		}
	}
	return nil
}
