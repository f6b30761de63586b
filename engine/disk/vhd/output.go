package vhd

import (
	"fmt"
	"io"
	"math"
)

// File is a file that an image is written to. It must be empty, and read as
// zeros where it was skipped over, as files do.
type File interface {
	io.WriterAt
	// Sync returns when everything written before is on stable storage.
	Sync() error
}

// DefaultBlockSize is 2 MiB: small enough that scattered changes do not blow
// up the file, what Windows itself uses, and the most that some readers take.
const DefaultBlockSize = 2 << 20

// Windows aligns the data of blocks, and the file's end, for disks that have
// physical sectors of 4 KiB. A bitmap lies right in front of its data, a
// footer where the next bitmap would.
const blockAlignment = 4096

// blockOffset is where the bitmap of a block goes behind end.
func blockOffset(end int64, geo geometry) int64 {
	return roundUp(end+geo.bitmapSize(), blockAlignment) - geo.bitmapSize()
}

// footerOffset is where the footer goes behind the last block.
func footerOffset(end int64) int64 {
	return roundUp(end+footerSize, blockAlignment) - footerSize
}

// maxBlocksEnd is as far as sector numbers in a BAT reach.
const maxBlocksEnd = math.MaxUint32 * SectorSize

// headerOffset is where dynamic and differencing files of ours have their
// dynamic disk header: behind the footer copy.
const headerOffset = footerSize

// tableSize is the space of a BAT, which Windows fills up with absent entries.
func tableSize(geo geometry, off int64) int64 {
	return roundUp(off+geo.blocks()*batEntrySize, blockAlignment) - off
}

// output writes structures to a file, a MiB at a time.
type output struct {
	w File
	// wrote, if not nil, is told of each write, and may end it all.
	wrote func(n int) error
}

func (out *output) write(structure string, p []byte, off int64) error {
	for len(p) > 0 {
		n := min(len(p), mib)
		if _, err := out.w.WriteAt(p[:n], off); err != nil {
			return fmt.Errorf("vhd: writing %s at offset %#x: %w", structure, off, err)
		}
		p, off = p[n:], off+int64(n)
		if out.wrote != nil {
			if err := out.wrote(n); err != nil {
				return fmt.Errorf("vhd: writing %s: %w", structure, err)
			}
		}
	}
	return nil
}

func (out *output) sync(structure string) error {
	if err := out.w.Sync(); err != nil {
		return fmt.Errorf("vhd: syncing %s: %w", structure, err)
	}
	return nil
}

// commit makes a dynamic or differencing VHD of a file that has everything
// else, and gives its size. The footers come first and the dynamic disk header
// last, each synced: no reader takes the footers for a VHD without a header
// that verifies. Were a footer last, readers that are content with the other
// one would take a file for complete that the rest refuse.
func (out *output) commit(f footer, h header, blocksEnd int64) (size int64, err error) {
	if err := out.sync("blocks and tables"); err != nil {
		return 0, err
	}
	size = footerOffset(blocksEnd) + footerSize
	for _, s := range []struct {
		name   string
		offset int64
	}{{"footer", size - footerSize}, {"footer copy", 0}} {
		if err := out.write(s.name, f.encode(), s.offset); err != nil {
			return 0, err
		}
	}
	if err := out.sync("footers"); err != nil {
		return 0, err
	}
	if err := out.write("dynamic disk header", h.encode(), headerOffset); err != nil {
		return 0, err
	}
	return size, out.sync("dynamic disk header")
}

// committedLater is the number of bytes that commit writes.
const committedLater = 2*footerSize + headerSize
