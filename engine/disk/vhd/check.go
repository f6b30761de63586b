package vhd

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"imageport/engine/disk/container"
)

// Check looks at everything that Open and the Disk look at only when they need
// it, or can do without: both footers, the geometry, the places of header, BAT
// and all locators, the end of the file, and every BAT entry, whose block must
// lie in the file and share its place with nothing else. It reports what it
// finds, the first 1000, and fails only if the file cannot be read or ctx
// ends. It takes 8 bytes of memory per block in the file, at most 32 MiB.
func (im *Image) Check(ctx context.Context, report func(Problem)) error {
	checks := []func(container.Note) error{im.checkFooters, im.checkFixed}
	if im.table != nil {
		end := im.structuresEnd()
		checks = []func(container.Note) error{
			im.checkFooters,
			im.checkHeader,
			func(note container.Note) error { return im.checkBAT(ctx, note, &end) },
			func(note container.Note) error { return im.checkBehind(note, end) },
		}
	}
	if err := container.Collect(report, checks...); err != nil {
		return fmt.Errorf("vhd: checking: %w", err)
	}
	return nil
}

// checkFooters notes what Open is content with.
func (im *Image) checkFooters(note container.Note) error {
	for i := range im.foot.problems {
		if err := note(&im.foot.problems[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkFixed notes what lies between a fixed disk and its footer.
func (im *Image) checkFixed(note container.Note) error {
	if size := im.info.CurrentSize; im.foot.dataEnd != size {
		p := corrupt(trailingFooter, im.foot.offset, "found behind %d bytes of data, expected behind a disk of %d", im.foot.dataEnd, size)
		p.Readable = true
		return note(p)
	}
	return nil
}

// checkHeader notes structures that begin within a sector, and locators that
// Open has passed over and that point to nowhere.
func (im *Image) checkHeader(note container.Note) error {
	at := int64(im.foot.dataOffset)
	for _, s := range []struct {
		name, pointer string
		at, offset    int64
	}{
		{headerName, trailingFooter, im.foot.offset, at},
		{"BAT", headerName, at, im.table.off},
	} {
		if s.offset%SectorSize == 0 {
			continue
		}
		p := corrupt(s.pointer, s.at, "points to the %s at %#x, expected a multiple of %d", s.name, s.offset, SectorSize)
		p.Readable = true
		if err := note(p); err != nil {
			return err
		}
	}
	end := uint64(im.table.space.end)
	for i, entry := range im.head.locators {
		if entry.code == "\x00\x00\x00\x00" || entry.offset <= end && uint64(entry.length) <= end-entry.offset {
			continue
		}
		p := corrupt(locatorName(i, entry), at+headerLocators+int64(i)*locatorSize,
			"points to %d bytes at %#x, but the file's data ends at %#x", entry.length, entry.offset, end)
		p.Readable = true
		if err := note(p); err != nil {
			return err
		}
	}
	return nil
}

// place is where a block begins in the file, by sector, and then its number.
type place struct{ sector, block uint32 }

// checkBAT notes entries that are not valid, and then those whose block begins
// where another one has not ended. It moves end behind the last block.
func (im *Image) checkBAT(ctx context.Context, note container.Note, end *int64) error {
	var places []place
	for number := range im.table.pieceCount() {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece, err := im.table.read(number)
		if err != nil {
			return err
		}
		for i := 0; i < len(piece); i += batEntrySize {
			sector, block := be.Uint32(piece[i:]), number*batPieceCount+int64(i/batEntrySize)
			if sector == absent {
				continue
			}
			if err := im.table.verify(block, sector); err == nil {
				places = append(places, place{sector, uint32(block)})
			} else if err := note(err); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.sector, b.sector), cmp.Compare(a.block, b.block))
	})
	var taken int64 // up to where a block takes the file, and which
	var by uint32
	for _, p := range places {
		block, start := int64(p.block), int64(p.sector)*SectorSize
		if start < taken {
			if err := note(corrupt(batEntryName, im.table.entryOffset(block),
				"block %d at %#x, but block %d takes the file up to %#x", block, start, by, taken)); err != nil {
				return err
			}
		}
		if blockEnd := im.geo.blockEnd(block, start); blockEnd > taken {
			taken, by = blockEnd, p.block
		}
	}
	*end = max(*end, taken)
	return nil
}

// structuresEnd is where the last structure ends that is not a block.
func (im *Image) structuresEnd() (end int64) {
	for _, e := range im.table.space.extents {
		end = max(end, e.end)
	}
	return end
}

// searched is how far behind the last block checkBehind looks for a footer:
// Windows reserves 64 KiB for a path, and rounds up.
const searched = 128 << 10

// checkBehind notes that something was appended to the file, if it has no
// footer at its end and one behind its last block, which ends at end.
func (im *Image) checkBehind(note container.Note, end int64) error {
	if im.foot.offset != 0 {
		return nil
	}
	// A block that the disk ends in may be as short as the disk, or whole.
	for _, from := range []int64{end, end + im.geo.blocks()*im.geo.blockSize - im.geo.virtualSize} {
		if from >= im.size {
			continue
		}
		p := make([]byte, min(searched, im.size-from))
		if err := readFull(im.r, "what follows the last block", from, p); err != nil {
			return note(err)
		}
		for i := bytes.Index(p, []byte(footerCookie)); i >= 0 && len(p)-i >= footerSize; {
			at := from + int64(i)
			if _, err := parseFooter(p[i:][:footerSize], trailingFooter, at); err == nil && at+footerSize < im.size {
				behind := corrupt(trailingFooter, at, "%d bytes follow it, expected the end of the file", im.size-at-footerSize)
				behind.Readable = true
				return note(behind)
			}
			next := bytes.Index(p[i+1:], []byte(footerCookie))
			if next < 0 {
				break
			}
			i += 1 + next
		}
	}
	return nil
}
