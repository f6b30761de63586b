package vhd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
)

// ChildOptions describes a child that WriteChild writes. All of it goes into
// the file, so that equal options and overlays give equal files.
type ChildOptions struct {
	// Parent is the image below the overlay: its virtual size is taken over,
	// its unique ID becomes the child's parent ID.
	Parent Info
	// ParentRelative is the parent's path from the child's folder
	// (`.\win10.vhd`); ParentAbsolute the one from anywhere
	// (`\\host\share\dir\win10.vhd`). One of them may be empty.
	ParentRelative, ParentAbsolute string
	// BlockSize in bytes, a power of two from 512 KiB to 256 MiB;
	// DefaultBlockSize if 0.
	BlockSize uint32
	// UniqueID is the child's own.
	UniqueID uuid.UUID
	// Timestamp is when the child was made, from 2000 on, in whole seconds.
	Timestamp time.Time
}

// Layout of a child, as Windows lays files out: footer copy and header, the
// absolute path, BAT, the relative path, then blocks.
const (
	childAbsoluteOffset = 4096
	childAbsoluteSpace  = 4096
	childTableOffset    = 8192
	childRelativeSpace  = 65536
)

// validate checks the options against the overlay and fills in defaults.
func (opt *ChildOptions) validate(ov *overlay.Overlay) error {
	if opt.BlockSize == 0 {
		opt.BlockSize = DefaultBlockSize
	}
	switch parent := opt.Parent; {
	case !validBlockSize(opt.BlockSize):
		return fmt.Errorf("vhd: block size %d of a child is not a power of two from 512 KiB to 256 MiB", opt.BlockSize)
	case parent.VirtualSize != ov.Size():
		return fmt.Errorf("vhd: parent has %d bytes, the overlay %d: %w", parent.VirtualSize, ov.Size(), ErrParentMismatch)
	case ov.SectorSize() != SectorSize:
		return fmt.Errorf("vhd: the overlay has sectors of %d bytes, a VHD of %d: %w", ov.SectorSize(), SectorSize, ErrParentMismatch)
	case !validVirtualSize(parent.VirtualSize):
		return fmt.Errorf("vhd: virtual size %d is not a multiple of %d up to 2040 GiB", parent.VirtualSize, SectorSize)
	case parent.CurrentSize != parent.VirtualSize:
		// Windows would compare the child with the current size, and others
		// the geometries.
		return fmt.Errorf("vhd: parent by %q shows %d bytes of its %d: not every reader would agree on a child: %w",
			parent.Creator, parent.VirtualSize, parent.CurrentSize, ErrUnsupported)
	case parent.UniqueID == uuid.Nil || opt.UniqueID == uuid.Nil:
		return errors.New("vhd: a child needs its parent's unique ID and one of its own")
	case opt.ParentRelative == "" && opt.ParentAbsolute == "":
		return errors.New("vhd: a child needs a path to its parent")
	}
	return nil
}

// childBlock is a block with changed pages.
type childBlock struct {
	index  int64
	offset int64 // of its bitmap in the file
	pages  []overlay.Page
}

// childPlan is where everything goes.
type childPlan struct {
	geo       geometry
	footer    footer
	header    header
	absolute  []byte // the paths in UTF-16LE
	relative  []byte
	blocks    []childBlock // ascending by index and offset
	blocksEnd int64
}

// relativeOffset is where the space of the relative path begins.
func (plan *childPlan) relativeOffset() int64 {
	return childTableOffset + tableSize(plan.geo, childTableOffset)
}

func planChild(ov *overlay.Overlay, opt ChildOptions) (*childPlan, error) {
	created, err := timestamp(opt.Timestamp)
	if err != nil {
		return nil, err
	}
	plan := &childPlan{
		geo:      geometry{ov.Size(), int64(opt.BlockSize)},
		footer:   newFooter(typeDifferencing, ov.Size(), opt.UniqueID, created),
		absolute: encodeUTF16(le, opt.ParentAbsolute),
		relative: encodeUTF16(le, opt.ParentRelative),
	}
	if len(plan.absolute) > childAbsoluteSpace || len(plan.relative) > childRelativeSpace {
		return nil, fmt.Errorf("vhd: the parent's path of %d bytes, or relative one of %d, does not fit a parent locator", len(plan.absolute), len(plan.relative))
	}
	// Windows leaves the parent's time stamp zero.
	plan.header = header{
		tableOffset: childTableOffset,
		maxEntries:  uint32(plan.geo.blocks()),
		blockSize:   opt.BlockSize,
		parentID:    opt.Parent.UniqueID,
	}
	for _, l := range []struct {
		code          string
		path          []byte
		space, offset int64
	}{
		{codeAbsolute, plan.absolute, childAbsoluteSpace, childAbsoluteOffset},
		{codeRelative, plan.relative, childRelativeSpace, plan.relativeOffset()},
	} {
		if len(l.path) > 0 {
			plan.header.locators = append(plan.header.locators,
				locatorEntry{l.code, uint32(l.space), uint32(len(l.path)), uint64(l.offset)})
		}
	}
	if plan.header.parentName, err = parentName(opt); err != nil {
		return nil, err
	}
	plan.blocksEnd = plan.relativeOffset() + childRelativeSpace
	return plan, plan.place(slices.Collect(ov.Pages()))
}

// place gives each changed block its place, in ascending order.
func (plan *childPlan) place(pages []overlay.Page) error {
	geo := plan.geo
	for len(pages) > 0 {
		block := childBlock{index: pages[0].Offset / geo.blockSize, offset: blockOffset(plan.blocksEnd, geo)}
		n := 1
		for n < len(pages) && pages[n].Offset/geo.blockSize == block.index {
			n++
		}
		block.pages, pages = pages[:n], pages[n:]
		plan.blocks = append(plan.blocks, block)
		plan.blocksEnd = block.offset + geo.bitmapSize() + geo.blockSize
	}
	if plan.blocksEnd > maxBlocksEnd {
		return fmt.Errorf("vhd: a child of %d bytes is more than a BAT can address: %w", plan.blocksEnd, ErrUnsupported)
	}
	return nil
}

// parentName is the Parent Unicode Name: the whole path, as in Windows'
// children, or the file name alone of a path that does not fit.
func parentName(opt ChildOptions) (string, error) {
	path := opt.ParentAbsolute
	if path == "" {
		path = opt.ParentRelative
	}
	for _, name := range []string{path, path[strings.LastIndexAny(path, `\/`)+1:]} {
		if len(encodeUTF16(be, name)) < parentNameSize {
			return name, nil
		}
	}
	return "", fmt.Errorf("vhd: the parent's file name %q is longer than %d UTF-16 units", path, parentNameSize/2-1)
}

// bat encodes the BAT with its padding.
func (plan *childPlan) bat() []byte {
	p := bytes.Repeat([]byte{0xff}, int(tableSize(plan.geo, childTableOffset)))
	for _, block := range plan.blocks {
		be.PutUint32(p[block.index*batEntrySize:], uint32(block.offset/SectorSize))
	}
	return p
}

// bitmap encodes the sector bitmap of a block: the changed sectors.
func (plan *childPlan) bitmap(block childBlock) []byte {
	bitmap := make(sectorBitmap, plan.geo.bitmapSize())
	for _, page := range block.pages {
		first := page.Offset % plan.geo.blockSize / SectorSize
		bitmap.set(first, first+int64(len(page.Data))/SectorSize)
	}
	return bitmap
}

// WriteChild writes the changed pages of ov as a differencing image whose
// parent is the image below ov, and gives the size of the file in bytes.
//
// Blocks are stored that have a changed page, zeros among them: in a VHD there
// is no other way to say that a sector is zero where the parent's is not. Of
// such a block, unchanged sectors are the parent's. Pages that equal the
// parent's are written too, unless ov's DropUnchanged was called.
//
// Writes come in ascending order without gaps, of at most 1 MiB, up to the
// last block, with zeros where footer copy and header will be; then, after a
// Sync, the two footers; and after another, at the very last, the 1 KiB of the
// dynamic disk header. A file that WriteChild was stopped in the middle of is
// ErrNotVHD or ErrCorrupt to Open and to ReadIdentity.
//
// progress, if not nil, is told after each write how many bytes of how many
// are written.
func WriteChild(ctx context.Context, w File, ov *overlay.Overlay, opt ChildOptions, progress func(done, total int64)) (size int64, err error) {
	if err := opt.validate(ov); err != nil {
		return 0, err
	}
	plan, err := planChild(ov, opt)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("vhd: writing a child: %w", err)
	}
	var done int64
	total := footerOffset(plan.blocksEnd) + committedLater
	out := &output{w: w, wrote: func(n int) error {
		done += int64(n)
		if progress != nil {
			progress(done, total)
		}
		if done == total {
			return nil // too late to be stopped
		}
		return ctx.Err()
	}}
	s := newStream(out)
	plan.write(s)
	if err := s.close(); err != nil {
		return 0, err
	}
	return out.commit(plan.footer, plan.header, plan.blocksEnd)
}

// write writes the file up to where the footer goes.
func (plan *childPlan) write(s *stream) {
	s.padTo(childAbsoluteOffset)
	s.write("absolute path", plan.absolute)
	s.padTo(childTableOffset)
	s.write("BAT", plan.bat())
	s.write("relative path", plan.relative)
	for _, block := range plan.blocks {
		s.padTo(block.offset)
		s.write("sector bitmap", plan.bitmap(block))
		start := block.offset + plan.geo.bitmapSize()
		for _, page := range block.pages {
			s.padTo(start + page.Offset%plan.geo.blockSize)
			s.write("block", page.Data)
		}
		s.padTo(start + plan.geo.blockSize)
	}
	s.padTo(footerOffset(plan.blocksEnd))
}

// stream puts what is written in order together to pieces of 1 MiB. After an
// error it does nothing; close gives it.
type stream struct {
	out       *output
	structure string // where the piece begins
	buf       []byte
	off       int64 // of buf in the file
	err       error
}

func newStream(out *output) *stream { return &stream{out: out, buf: make([]byte, 0, mib)} }

func (s *stream) write(structure string, p []byte) {
	for len(p) > 0 && s.err == nil {
		if len(s.buf) == 0 {
			s.structure = structure
		}
		n := min(len(p), cap(s.buf)-len(s.buf))
		s.buf, p = append(s.buf, p[:n]...), p[n:]
		if len(s.buf) == cap(s.buf) {
			s.flush()
		}
	}
}

// padTo writes zeros up to off.
func (s *stream) padTo(off int64) {
	for pos := s.off + int64(len(s.buf)); pos < off && s.err == nil; pos = s.off + int64(len(s.buf)) {
		s.write("padding", zeros[:min(off-pos, int64(len(zeros)))])
	}
}

func (s *stream) flush() {
	if s.err == nil && len(s.buf) > 0 {
		s.err = s.out.write(s.structure, s.buf, s.off)
		s.off += int64(len(s.buf))
		s.buf = s.buf[:0]
	}
}

func (s *stream) close() error {
	s.flush()
	return s.err
}
