package vhdx

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
)

// File is a file that a child is written to. It must be empty.
type File interface {
	io.WriterAt
	// Sync returns when everything written before is on stable storage.
	Sync() error
}

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
	metadata, err := encodeMetadata(opt)
	if err != nil {
		return 0, err
	}

	type structure struct {
		name   string
		offset int64
		data   []byte
	}
	regions := encodeRegionTable([]region{
		{batRegionGUID, childBATOffset, uint32(plan.batLength), true},
		{metadataRegionGUID, childMetadataOffset, childMetadataLength, true},
	})
	phases := [][]structure{
		{
			{"creator", creatorOffset, encodeUTF16(opt.Creator)},
			{"region table 1", regionTable1Offset, regions},
			{"region table 2", regionTable2Offset, regions},
			{"metadata", childMetadataOffset, metadata},
			{"BAT", childBATOffset, plan.bat()},
		}, {
			{"header 1", header1Offset, encodeHeader(opt, 1)},
			{"header 2", header2Offset, encodeHeader(opt, 2)},
		}, {
			{"file identifier", fileIdentifierOffset, []byte(fileSignature)},
		},
	}
	total := plan.size
	for _, phase := range phases {
		for _, s := range phase {
			total += int64(len(s.data))
		}
	}

	out := &childWriter{ctx: ctx, w: w, total: total, progress: progress, buf: make([]byte, mib)}
	if err := out.blocks(plan); err != nil {
		return 0, err
	}
	if err := out.sync("blocks"); err != nil {
		return 0, err
	}
	for _, phase := range phases {
		for _, s := range phase {
			if err := out.write(s.name, s.data, s.offset); err != nil {
				return 0, err
			}
		}
		if err := out.sync(phase[0].name); err != nil {
			return 0, err
		}
	}
	return plan.size, nil
}

// childWriter writes to a File, a MiB at a time, and counts.
type childWriter struct {
	ctx         context.Context
	w           File
	done, total int64
	progress    func(done, total int64)
	buf         []byte // 1 MiB
}

func (out *childWriter) write(structure string, p []byte, off int64) error {
	for len(p) > 0 {
		if err := out.ctx.Err(); err != nil {
			return fmt.Errorf("vhdx: writing %s: %w", structure, err)
		}
		n := min(len(p), mib)
		if _, err := out.w.WriteAt(p[:n], off); err != nil {
			return fmt.Errorf("vhdx: writing %s at offset %#x: %w", structure, off, err)
		}
		p, off = p[n:], off+int64(n)
		out.done += int64(n)
		if out.progress != nil {
			out.progress(out.done, out.total)
		}
	}
	return nil
}

func (out *childWriter) sync(structure string) error {
	if err := out.w.Sync(); err != nil {
		return fmt.Errorf("vhdx: syncing %s: %w", structure, err)
	}
	return nil
}

// blocks writes the file from start to end: zeros where the structures will
// be, which also empties the log, then bitmaps and payload.
func (out *childWriter) blocks(plan *childPlan) error {
	clear(out.buf)
	var off int64
	for ; off < childBATOffset+plan.batLength; off += mib {
		if err := out.write("space of the structures", out.buf, off); err != nil {
			return err
		}
	}
	bitmaps := plan.bitmaps
	for _, block := range plan.blocks {
		if block.state == blockZero {
			continue
		}
		if len(bitmaps) > 0 && bitmaps[0].offset < block.offset {
			clear(out.buf)
			plan.bitmap(bitmaps[0].chunk, out.buf)
			if err := out.write("sector bitmap", out.buf, bitmaps[0].offset); err != nil {
				return err
			}
			bitmaps = bitmaps[1:]
		}
		if err := out.payload(plan.geo, block); err != nil {
			return err
		}
	}
	return nil
}

// payload writes one block: its pages, and zeros between them that nobody reads.
func (out *childWriter) payload(geo geometry, block childBlock) error {
	start := block.index * geo.blockSize
	pages := block.pages
	for within := int64(0); within < geo.blockSize; within += mib {
		clear(out.buf)
		for len(pages) > 0 && pages[0].Offset < start+within+mib {
			copy(out.buf[pages[0].Offset-start-within:], pages[0].Data)
			pages = pages[1:]
		}
		if err := out.write("payload block", out.buf, block.offset+within); err != nil {
			return err
		}
	}
	return nil
}

// encodeHeader encodes a header with an empty log.
func encodeHeader(opt ChildOptions, sequence uint64) []byte {
	p := make([]byte, headerSize)
	copy(p, headerSignature)
	le.PutUint64(p[8:], sequence)
	putGUID(p[16:], opt.FileWriteGUID)
	putGUID(p[32:], opt.DataWriteGUID)
	putGUID(p[48:], uuid.Nil) // no log
	le.PutUint16(p[66:], formatVersion)
	le.PutUint32(p[68:], childLogLength)
	le.PutUint64(p[72:], childLogOffset)
	le.PutUint32(p[4:], checksum(p))
	return p
}

func encodeRegionTable(regions []region) []byte {
	p := make([]byte, regionTableSize)
	copy(p, regionSignature)
	le.PutUint32(p[8:], uint32(len(regions)))
	for i, r := range regions {
		entry := p[16+tableEntrySize*i:]
		putGUID(entry, r.id)
		le.PutUint64(entry[16:], r.offset)
		le.PutUint32(entry[24:], r.length)
		if r.required {
			le.PutUint32(entry[28:], 1)
		}
	}
	le.PutUint32(p[4:], checksum(p))
	return p
}

// encodeMetadata encodes the used part of the metadata region: the table and,
// 64 KiB behind its start, the items in Windows' order.
func encodeMetadata(opt ChildOptions) ([]byte, error) {
	locator, err := ParentLocator{
		Linkage:      opt.Parent.DataWriteGUID,
		RelativePath: opt.ParentRelative,
		AbsolutePath: opt.ParentAbsolute,
	}.encode()
	if err != nil {
		return nil, err
	}
	u32 := func(v uint32) []byte { return le.AppendUint32(nil, v) }
	diskID := make([]byte, 16)
	putGUID(diskID, opt.Parent.VirtualDiskID)

	items := []struct {
		id    uuid.UUID
		flags uint32
		data  []byte
	}{
		{fileParametersGUID, itemIsRequired, append(u32(opt.BlockSize), u32(flagHasParent)...)},
		{virtualDiskSizeGUID, itemIsRequired | itemIsVirtualDisk, le.AppendUint64(nil, uint64(opt.Parent.VirtualSize))},
		{logicalSectorSizeGUID, itemIsRequired | itemIsVirtualDisk, u32(uint32(opt.Parent.LogicalSectorSize))},
		{physicalSectorSizeGUID, itemIsRequired | itemIsVirtualDisk, u32(uint32(opt.Parent.PhysicalSectorSize))},
		{virtualDiskIDGUID, itemIsRequired | itemIsVirtualDisk, diskID},
		{parentLocatorGUID, itemIsRequired, locator},
	}
	p := make([]byte, metadataTableSize)
	copy(p, metadataSignature)
	le.PutUint16(p[10:], uint16(len(items)))
	for i, item := range items {
		entry := p[tableEntrySize*(1+i):]
		putGUID(entry, item.id)
		le.PutUint32(entry[16:], uint32(len(p)))
		le.PutUint32(entry[20:], uint32(len(item.data)))
		le.PutUint32(entry[24:], item.flags)
		p = append(p, item.data...)
	}
	return p, nil
}
