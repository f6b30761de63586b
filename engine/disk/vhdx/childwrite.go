package vhdx

import (
	"context"
	"fmt"

	"imageport/engine/disk/overlay"
)

// WriteChild writes the changed pages of ov as a differencing image whose
// parent is the image below ov, and gives the size of the file in bytes.
//
// Blocks that read as zeros throughout take no space; a block with every page
// changed is stored without a bitmap; of the others, the unchanged sectors are
// the parent's. Pages that equal the parent's are written too, unless ov's
// DropUnchanged was called.
//
// Writes come in ascending order without gaps, of at most 1 MiB, up to the
// file's end; then, each after a Sync, the tables, the headers and at the very
// last the 8 bytes that make the file a VHDX. A file that WriteChild was
// stopped in the middle of has none and is ErrNotVHDX to Open.
//
// progress, if not nil, is told after each write how many bytes of how many
// are written.
func WriteChild(ctx context.Context, w File, ov *overlay.Overlay, opt ChildOptions, progress func(done, total int64)) (size int64, err error) {
	if err := opt.validate(ov); err != nil {
		return 0, err
	}
	plan, err := planChild(ctx, ov, int64(opt.BlockSize))
	if err != nil {
		return 0, fmt.Errorf("vhdx: planning a child: %w", err)
	}
	locator, err := ParentLocator{
		Linkage:      opt.Parent.DataWriteGUID,
		RelativePath: opt.ParentRelative,
		AbsolutePath: opt.ParentAbsolute,
	}.encode()
	if err != nil {
		return 0, err
	}
	info := opt.Parent
	info.Type, info.BlockSize = Differencing, opt.BlockSize
	metadata, err := encodeMetadata(info, locator)
	if err != nil {
		return 0, err
	}
	structures := structureSet{
		creator:   opt.Creator,
		fileWrite: opt.FileWriteGUID,
		dataWrite: opt.DataWriteGUID,
		metadata:  metadata,
		batLength: plan.batLength,
		entries:   plan.entries,
	}
	out := &fileWriter{ctx: ctx, w: w, total: plan.size + structures.size(), progress: progress}
	if err := plan.write(out); err != nil {
		return 0, err
	}
	if err := structures.write(out); err != nil {
		return 0, err
	}
	return plan.size, nil
}

// write writes the file from start to end: zeros where the structures will
// be, which also empties the log, then bitmaps and payload.
func (plan *childPlan) write(out *fileWriter) error {
	buf := make([]byte, mib)
	for off := int64(0); off < layoutBATOffset+plan.batLength; off += mib {
		if err := out.write("space of the structures", buf, off); err != nil {
			return err
		}
	}
	bitmaps := plan.bitmaps
	for _, block := range plan.blocks {
		if block.state == blockZero {
			continue
		}
		if len(bitmaps) > 0 && bitmaps[0].offset < block.offset {
			clear(buf)
			plan.bitmap(bitmaps[0].chunk, buf)
			if err := out.write("sector bitmap", buf, bitmaps[0].offset); err != nil {
				return err
			}
			bitmaps = bitmaps[1:]
		}
		if err := plan.payload(out, block, buf); err != nil {
			return err
		}
	}
	return nil
}

// payload writes one block by way of buf, 1 MiB: its pages, and zeros between
// them that nobody reads.
func (plan *childPlan) payload(out *fileWriter, block childBlock, buf []byte) error {
	start := block.index * plan.geo.blockSize
	pages := block.pages
	for within := int64(0); within < plan.geo.blockSize; within += mib {
		clear(buf)
		for len(pages) > 0 && pages[0].Offset < start+within+mib {
			copy(buf[pages[0].Offset-start-within:], pages[0].Data)
			pages = pages[1:]
		}
		if err := out.write("payload block", buf, block.offset+within); err != nil {
			return err
		}
	}
	return nil
}
