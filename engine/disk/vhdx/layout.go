package vhdx

import (
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/google/uuid"
)

// File is a file that an image is written to. It must be empty, and read as
// zeros where nothing was written.
type File interface {
	io.WriterAt
	// Sync returns when everything written before is on stable storage.
	Sync() error
}

// Layout of what we write, as Windows lays files out: header section, log,
// metadata, BAT, then blocks.
const (
	layoutLogOffset      = 1 * mib
	layoutLogLength      = 1 * mib
	layoutMetadataOffset = 2 * mib
	layoutMetadataLength = 1 * mib
	layoutBATOffset      = 3 * mib
)

// batLength is the length of a BAT region: its entries in whole MiB.
func batLength(geo geometry, differencing bool) int64 {
	return (geo.batEntries(differencing)*8 + mib - 1) / mib * mib
}

// validBlockSize tells whether a block size is a power of two from 1 MiB to 256 MiB.
func validBlockSize(size uint32) bool {
	return size >= minBlockSize && size <= maxBlockSize && bits.OnesCount32(size) == 1
}

// validVirtualSize tells whether a disk is of whole sectors and up to 64 TiB.
func validVirtualSize(size int64, sectorSize int) bool {
	return size > 0 && size <= maxVirtualSize && size%int64(sectorSize) == 0
}

// structureSet is everything of an image but its blocks.
type structureSet struct {
	creator              string
	fileWrite, dataWrite uuid.UUID
	metadata             []byte
	batLength            int64
	// entries puts the BAT entries from first on into p, which is zeros.
	entries func(first int64, p []byte)
}

// size is the number of bytes that write writes.
func (s structureSet) size() int64 {
	return int64(len(encodeUTF16(s.creator))+2*regionTableSize+len(s.metadata)) + s.batLength + 2*headerSize + int64(len(fileSignature))
}

// write writes the structures to a file whose blocks are written: first a
// Sync, then the tables, the headers and at the very last the 8 bytes that
// make the file a VHDX, with a Sync after each.
func (s structureSet) write(out *fileWriter) error {
	if err := out.sync("blocks"); err != nil {
		return err
	}
	regions := encodeRegionTable([]region{
		{batRegionGUID, layoutBATOffset, uint32(s.batLength), true},
		{metadataRegionGUID, layoutMetadataOffset, layoutMetadataLength, true},
	})
	type structure struct {
		name   string
		offset int64
		data   []byte
	}
	for i, phase := range [][]structure{
		{
			{"creator", creatorOffset, encodeUTF16(s.creator)},
			{"region table 1", regionTable1Offset, regions},
			{"region table 2", regionTable2Offset, regions},
			{"metadata", layoutMetadataOffset, s.metadata},
		}, {
			{"header 1", header1Offset, encodeHeader(s.fileWrite, s.dataWrite, 1)},
			{"header 2", header2Offset, encodeHeader(s.fileWrite, s.dataWrite, 2)},
		}, {
			{"file identifier", fileIdentifierOffset, []byte(fileSignature)},
		},
	} {
		for _, structure := range phase {
			if err := out.write(structure.name, structure.data, structure.offset); err != nil {
				return err
			}
		}
		if i == 0 {
			if err := s.writeBAT(out); err != nil {
				return err
			}
		}
		if err := out.sync(phase[len(phase)-1].name); err != nil {
			return err
		}
	}
	return nil
}

func (s structureSet) writeBAT(out *fileWriter) error {
	p := make([]byte, mib)
	for off := int64(0); off < s.batLength; off += mib {
		clear(p)
		s.entries(off/8, p)
		if err := out.write("BAT", p, layoutBATOffset+off); err != nil {
			return err
		}
	}
	return nil
}

// fileWriter writes to a File, a MiB at a time, and counts.
type fileWriter struct {
	ctx         context.Context
	w           File
	done, total int64
	progress    func(done, total int64)
}

func (out *fileWriter) write(structure string, p []byte, off int64) error {
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

func (out *fileWriter) sync(structure string) error {
	if err := out.w.Sync(); err != nil {
		return fmt.Errorf("vhdx: syncing %s: %w", structure, err)
	}
	return nil
}

// encodeHeader encodes a header with an empty log.
func encodeHeader(fileWrite, dataWrite uuid.UUID, sequence uint64) []byte {
	p := make([]byte, headerSize)
	copy(p, headerSignature)
	le.PutUint64(p[8:], sequence)
	putGUID(p[16:], fileWrite)
	putGUID(p[32:], dataWrite)
	putGUID(p[48:], uuid.Nil) // no log
	le.PutUint16(p[66:], formatVersion)
	le.PutUint32(p[68:], layoutLogLength)
	le.PutUint64(p[72:], layoutLogOffset)
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

// encodeMetadata encodes the used part of a metadata region: the table and,
// 64 KiB behind its start, the items in Windows' order, then the inherited
// ones. An image with a parent has a locator, the others have none.
func encodeMetadata(info Info, locator []byte) ([]byte, error) {
	u32 := func(v uint32) []byte { return le.AppendUint32(nil, v) }
	diskID := make([]byte, 16)
	putGUID(diskID, info.VirtualDiskID)
	var flags uint32
	switch info.Type {
	case Fixed:
		flags = flagLeaveAllocated
	case Differencing:
		flags = flagHasParent
	}

	items := []inheritedItem{
		{fileParametersGUID, itemIsRequired, append(u32(info.BlockSize), u32(flags)...)},
		{virtualDiskSizeGUID, itemIsRequired | itemIsVirtualDisk, le.AppendUint64(nil, uint64(info.VirtualSize))},
		{logicalSectorSizeGUID, itemIsRequired | itemIsVirtualDisk, u32(uint32(info.LogicalSectorSize))},
		{physicalSectorSizeGUID, itemIsRequired | itemIsVirtualDisk, u32(uint32(info.PhysicalSectorSize))},
		{virtualDiskIDGUID, itemIsRequired | itemIsVirtualDisk, diskID},
	}
	if locator != nil {
		items = append(items, inheritedItem{parentLocatorGUID, itemIsRequired, locator})
	}
	items = append(items, info.inherited.items...)
	if info.inherited.size > maxInherited || len(items) > maxTableEntries {
		return nil, fmt.Errorf("vhdx: %d bytes of metadata to inherit from a parent, expected at most %d in at most %d items: %w",
			info.inherited.size, maxInherited, maxTableEntries, ErrUnsupported)
	}
	p := make([]byte, metadataTableSize)
	copy(p, metadataSignature)
	le.PutUint16(p[10:], uint16(len(items)))
	for i, item := range items {
		entry := p[tableEntrySize*(1+i):]
		putGUID(entry, item.id)
		if len(item.data) > 0 {
			le.PutUint32(entry[16:], uint32(len(p)))
		}
		le.PutUint32(entry[20:], uint32(len(item.data)))
		le.PutUint32(entry[24:], item.flags)
		p = append(p, item.data...)
	}
	if len(p) > layoutMetadataLength {
		return nil, fmt.Errorf("vhdx: metadata of %d bytes, expected at most %d", len(p), layoutMetadataLength)
	}
	return p, nil
}
