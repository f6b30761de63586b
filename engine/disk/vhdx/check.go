package vhdx

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"imageport/engine/disk/container"
)

// Check looks at everything that Open and the Disk look at only when they need
// it: both copies of the headers and region tables, and every BAT entry, which
// must be valid, point into the file, and share its space with no other. It
// reports what it finds, the first 1000, and fails only if the file cannot be
// read or ctx ends. It takes 1 bit of memory per MiB of the file.
func (im *Image) Check(ctx context.Context, report func(Problem)) error {
	err := container.Collect(report, im.checkCopies, func(note container.Note) error { return im.checkBAT(ctx, note) })
	if err != nil {
		return fmt.Errorf("vhdx: checking: %w", err)
	}
	return nil
}

// checkCopies notes copies that are not valid. Open is content with the other.
func (im *Image) checkCopies(note container.Note) error {
	if im.head.log != uuid.Nil {
		problem := dirtyLog(im.head)
		problem.Readable = true // Open has replayed the log
		if err := note(problem); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		structure, signature string
		offset, size         int64
	}{
		{"header 1", headerSignature, header1Offset, headerSize},
		{"header 2", headerSignature, header2Offset, headerSize},
		{"region table 1", regionSignature, regionTable1Offset, regionTableSize},
		{"region table 2", regionSignature, regionTable2Offset, regionTableSize},
	} {
		p := make([]byte, c.size)
		err := readFull(im.r, c.structure, c.offset, p)
		if err == nil {
			if invalid := verifyChecksum(p, c.signature); invalid != nil {
				problem := corrupt(c.structure, c.offset, "%v; the other copy is valid", invalid)
				problem.Readable, err = true, problem
			}
		}
		if err != nil {
			if err := note(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBAT notes entries that are not valid, or point to space that an entry
// before has.
func (im *Image) checkBAT(ctx context.Context, note container.Note) error {
	geo, taken := im.geo, newOccupancy(im.bat.space.fileSize)
	claim := func(structure string, index int64, space fileRange, err error) error {
		if err == nil {
			if off, free := taken.take(space); !free {
				err = corrupt(structure, im.bat.offset+8*index, "points to %d bytes at %#x, but %#x belongs to another block",
					space.end-space.offset, space.offset, off)
			}
		}
		if err != nil {
			return note(err)
		}
		return nil
	}
	for block := range geo.payloadBlocks() {
		if block%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		entry, space, err := im.bat.payload(block)
		if err == nil && entry.state() == blockPartiallyPresent {
			if bitmap, _, bitmapErr := im.bat.bitmap(block / geo.chunkRatio); bitmapErr == nil && bitmap.state() != bitmapPresent {
				_, _, err = im.bat.bitmapOf(block)
			}
		}
		if err := claim(payloadEntryName, geo.payloadEntry(block), space, err); err != nil {
			return err
		}
		// The entry of a chunk's bitmap follows those of its blocks.
		chunk := block / geo.chunkRatio
		if lastOfChunk := block == min((chunk+1)*geo.chunkRatio, geo.payloadBlocks())-1; !lastOfChunk || chunk >= im.bat.bitmapChunks() {
			continue
		}
		_, space, err = im.bat.bitmap(chunk)
		if err := claim(bitmapEntryName, geo.bitmapEntry(chunk), space, err); err != nil {
			return err
		}
	}
	return nil
}
