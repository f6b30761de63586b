package vhd

import (
	"io"
	"math/bits"

	"github.com/google/uuid"
)

// header is the dynamic disk header, of dynamic and differencing images.
type header struct {
	tableOffset uint64
	maxEntries  uint32
	blockSize   uint32
	// The rest is a differencing image's.
	parentID   uuid.UUID
	parentName string
	locators   []locatorEntry
}

// locatorEntry is a Parent Locator Entry: where in the file a path to the
// parent lies. space is in bytes in Windows' files, in sectors in the
// specification, and therefore not relied on.
type locatorEntry struct {
	code          string // 4 bytes
	space, length uint32
	offset        uint64
}

const (
	headerName = "dynamic disk header"

	headerChecksum   = 36 // offsets of fields
	headerParentName = 64
	headerLocators   = headerParentName + parentNameSize
)

// readHeader reads and verifies the dynamic disk header.
func readHeader(r io.ReaderAt, f *foundFooter) (*header, error) {
	const structure = headerName
	if f.dataOffset > uint64(f.dataEnd) {
		return nil, corrupt("footer", f.offset, "%s at %#x, but the file's data ends at %#x", structure, f.dataOffset, f.dataEnd)
	}
	off := int64(f.dataOffset)
	p := make([]byte, headerSize)
	if err := readFull(r, structure, off, p); err != nil {
		return nil, err
	}
	if string(p[:8]) != headerCookie {
		return nil, corrupt(structure, off, "found cookie %q, expected %q", p[:8], headerCookie)
	}
	if found, want := be.Uint32(p[headerChecksum:]), checksum(p, headerChecksum); found != want {
		return nil, corrupt(structure, off, "found checksum %#08x, expected %#08x", found, want)
	}
	if version := be.Uint32(p[24:]); version&majorVersion != formatVersion {
		return nil, refuse(ErrUnsupported, structure, off, "found version %#08x, expected %#08x", version, formatVersion)
	}
	h := &header{
		tableOffset: be.Uint64(p[16:]),
		maxEntries:  be.Uint32(p[28:]),
		blockSize:   be.Uint32(p[32:]),
	}
	if bits.OnesCount32(h.blockSize) != 1 {
		return nil, corrupt(structure, off, "found block size %d, expected a power of two", h.blockSize)
	}
	if !validBlockSize(h.blockSize) {
		return nil, refuse(ErrUnsupported, structure, off, "found block size %d, expected 512 KiB to 256 MiB", h.blockSize)
	}
	geo := geometry{f.virtualSize(), int64(h.blockSize)}
	if int64(h.maxEntries) < geo.blocks() {
		return nil, corrupt(structure, off, "found %d table entries, expected %d for a disk of %d bytes", h.maxEntries, geo.blocks(), geo.virtualSize)
	}
	if f.diskType == typeDifferencing {
		h.parentID = uuid.UUID(p[40:56])
		h.parentName = decodeUTF16(be, p[headerParentName:][:parentNameSize])
		for i := range maxLocators {
			entry := p[headerLocators+i*locatorSize:]
			h.locators = append(h.locators, locatorEntry{
				code:   string(entry[:4]),
				space:  be.Uint32(entry[4:]),
				length: be.Uint32(entry[8:]),
				offset: be.Uint64(entry[16:]),
			})
		}
	}
	return h, nil
}

func (h header) encode() []byte {
	p := make([]byte, headerSize)
	copy(p, headerCookie)
	be.PutUint64(p[8:], noDataOffset)
	be.PutUint64(p[16:], h.tableOffset)
	be.PutUint32(p[24:], formatVersion)
	be.PutUint32(p[28:], h.maxEntries)
	be.PutUint32(p[32:], h.blockSize)
	copy(p[40:], h.parentID[:])
	copy(p[headerParentName:][:parentNameSize], encodeUTF16(be, h.parentName))
	for i, l := range h.locators {
		entry := p[headerLocators+i*locatorSize:]
		copy(entry[:4], l.code)
		be.PutUint32(entry[4:], l.space)
		be.PutUint32(entry[8:], l.length)
		be.PutUint64(entry[16:], l.offset)
	}
	be.PutUint32(p[headerChecksum:], checksum(p, headerChecksum))
	return p
}
