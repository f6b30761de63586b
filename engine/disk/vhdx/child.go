package vhdx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
)

// DefaultBlockSize of a child is 2 MiB: small enough that scattered changes do
// not blow up the file, and what Windows itself gives differencing images.
const DefaultBlockSize = 2 << 20

// ChildOptions describes a child that WriteChild writes. All of it goes into
// the file, so that equal options and overlays give equal files.
type ChildOptions struct {
	// Parent is the image below the overlay. Virtual size, sector sizes,
	// virtual disk ID and other metadata of the virtual disk are taken over;
	// its DataWriteGUID becomes the linkage.
	Parent Info
	// ParentRelative is the parent's path from the child's folder
	// (`.\win10.vhdx`); ParentAbsolute the one from anywhere
	// (`\\host\share\dir\win10.vhdx`). One of them may be empty.
	ParentRelative, ParentAbsolute string
	// BlockSize in bytes, a power of two from 1 MiB to 256 MiB;
	// DefaultBlockSize if 0.
	BlockSize uint32
	// FileWriteGUID and DataWriteGUID are the child's own.
	FileWriteGUID, DataWriteGUID uuid.UUID
	// Creator names the program, in at most 256 UTF-16 units.
	Creator string
}

// validate checks the options against the overlay and fills in defaults.
func (opt *ChildOptions) validate(ov *overlay.Overlay) error {
	if opt.BlockSize == 0 {
		opt.BlockSize = DefaultBlockSize
	}
	switch {
	case !validBlockSize(opt.BlockSize):
		return fmt.Errorf("vhdx: block size %d of a child is not a power of two from 1 MiB to 256 MiB", opt.BlockSize)
	case opt.Parent.VirtualSize != ov.Size():
		return fmt.Errorf("vhdx: parent has %d bytes, the overlay %d: %w", opt.Parent.VirtualSize, ov.Size(), ErrParentMismatch)
	case opt.Parent.LogicalSectorSize != ov.SectorSize():
		return fmt.Errorf("vhdx: parent has sectors of %d bytes, the overlay of %d: %w",
			opt.Parent.LogicalSectorSize, ov.SectorSize(), ErrParentMismatch)
	case !validSectorSize(opt.Parent.LogicalSectorSize) || !validSectorSize(opt.Parent.PhysicalSectorSize):
		return fmt.Errorf("vhdx: sector sizes %d (logical) and %d (physical) of a child are not 512 or 4096",
			opt.Parent.LogicalSectorSize, opt.Parent.PhysicalSectorSize)
	case !validVirtualSize(opt.Parent.VirtualSize, opt.Parent.LogicalSectorSize):
		return fmt.Errorf("vhdx: virtual size %d is not a multiple of %d up to 64 TiB", opt.Parent.VirtualSize, opt.Parent.LogicalSectorSize)
	case opt.Parent.DataWriteGUID == uuid.Nil || opt.FileWriteGUID == uuid.Nil || opt.DataWriteGUID == uuid.Nil:
		return errors.New("vhdx: a child needs its parent's data write GUID and GUIDs of its own")
	case opt.ParentRelative == "" && opt.ParentAbsolute == "":
		return errors.New("vhdx: a child needs a path to its parent")
	case len(encodeUTF16(opt.Creator)) > creatorSize:
		return fmt.Errorf("vhdx: creator %q is longer than %d bytes of UTF-16", opt.Creator, creatorSize)
	}
	return nil
}

// childBlock is a payload block that the child has something to say about.
type childBlock struct {
	index  int64
	state  blockState
	offset int64 // in the file, if the state has data
	pages  []overlay.Page
}

// childBitmap is the sector bitmap block of a chunk.
type childBitmap struct {
	chunk  int64
	offset int64
}

// childPlan is where everything goes.
type childPlan struct {
	geo       geometry
	batLength int64
	blocks    []childBlock // ascending by index and offset
	bitmaps   []childBitmap
	size      int64 // of the file
}

// planChild gives each changed block a state and a place. Blocks are placed in
// ascending order, a chunk's bitmap before its first partially present block.
func planChild(ctx context.Context, ov *overlay.Overlay, blockSize int64) (*childPlan, error) {
	geo := newGeometry(ov.Size(), blockSize, int64(ov.SectorSize()))
	plan := &childPlan{geo: geo}
	plan.batLength = batLength(geo, true)
	plan.size = layoutBATOffset + plan.batLength

	pages := slices.Collect(ov.Pages())
	for len(pages) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		block := childBlock{index: pages[0].Offset / geo.blockSize}
		n := 1
		for n < len(pages) && pages[n].Offset/geo.blockSize == block.index {
			n++
		}
		block.pages, pages = pages[:n], pages[n:]

		var err error
		if block.state, err = stateOf(block, ov, geo); err != nil {
			return nil, err
		}
		if block.state == blockPartiallyPresent {
			chunk := block.index / geo.chunkRatio
			if last := len(plan.bitmaps) - 1; last < 0 || plan.bitmaps[last].chunk != chunk {
				plan.bitmaps = append(plan.bitmaps, childBitmap{chunk, plan.size})
				plan.size += mib
			}
		}
		if block.state != blockZero {
			block.offset = plan.size
			plan.size += geo.blockSize
		}
		plan.blocks = append(plan.blocks, block)
	}
	return plan, nil
}

// stateOf finds the cheapest state that holds the block's pages: nothing but
// zeros needs no data, a block of changed pages only needs no bitmap.
func stateOf(block childBlock, ov *overlay.Overlay, geo geometry) (blockState, error) {
	var changed int64
	zero := true
	for _, page := range block.pages {
		changed += int64(len(page.Data))
		zero = zero && isZero(page.Data)
	}
	if zero {
		// The pages between may be zeros of the parent.
		allZero, err := rangeIsZero(ov, block.index*geo.blockSize, geo.blockLength(block.index))
		if err != nil {
			return 0, err
		}
		if allZero {
			return blockZero, nil
		}
	}
	if changed == geo.blockLength(block.index) {
		return blockFullyPresent, nil
	}
	return blockPartiallyPresent, nil
}

// rangeIsZero reads up to the first byte that is not zero, in pieces that grow
// from 64 KiB to 1 MiB: most blocks are decided by the first.
func rangeIsZero(r io.ReaderAt, off, length int64) (bool, error) {
	buf := make([]byte, mib)
	for piece := int64(64 << 10); length > 0; piece = min(2*piece, mib) {
		n := min(piece, length)
		if _, err := r.ReadAt(buf[:n], off); err != nil && err != io.EOF {
			return false, fmt.Errorf("vhdx: looking for zeros at %#x on the disk: %w", off, err)
		}
		if !isZero(buf[:n]) {
			return false, nil
		}
		off, length = off+n, length-n
	}
	return true, nil
}

func isZero(p []byte) bool {
	for len(p) >= 8 {
		if le.Uint64(p) != 0 {
			return false
		}
		p = p[8:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// bitmap sets the bits of the changed sectors of a chunk in p, 1 MiB of zeros.
func (plan *childPlan) bitmap(chunk int64, p []byte) {
	geo := plan.geo
	chunkSize := geo.chunkRatio * geo.blockSize
	first, _ := slices.BinarySearchFunc(plan.blocks, chunk*geo.chunkRatio, func(b childBlock, index int64) int {
		return int(b.index - index)
	})
	for _, block := range plan.blocks[first:] {
		if block.index/geo.chunkRatio != chunk {
			break
		}
		if block.state == blockZero {
			continue
		}
		for _, page := range block.pages {
			sector := page.Offset % chunkSize / geo.sectorSize
			for end := sector + int64(len(page.Data))/geo.sectorSize; sector < end; sector++ {
				p[sector/8] |= 1 << (sector % 8)
			}
		}
	}
}

// entries puts the BAT entries from first on into p, which is zeros.
func (plan *childPlan) entries(first int64, p []byte) {
	last := first + int64(len(p))/8 - 1
	from, _ := slices.BinarySearchFunc(plan.blocks, first, func(b childBlock, first int64) int {
		return int(plan.geo.payloadEntry(b.index) - first)
	})
	for _, block := range plan.blocks[from:] {
		index := plan.geo.payloadEntry(block.index)
		if index > last {
			break
		}
		le.PutUint64(p[8*(index-first):], uint64(newBATEntry(block.state, block.offset)))
	}
	for _, bitmap := range plan.bitmaps {
		if index := plan.geo.bitmapEntry(bitmap.chunk); index >= first && index <= last {
			le.PutUint64(p[8*(index-first):], uint64(newBATEntry(bitmapPresent, bitmap.offset)))
		}
	}
}
