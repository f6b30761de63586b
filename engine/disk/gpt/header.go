package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"
)

const (
	headerMagic    = "EFI PART"
	headerRevision = 0x00010000
	headerSize     = 92 // bytes; the rest of the sector is zero
	headerCRC      = 16 // offset of HeaderCRC32
)

// header is the GPT header (UEFI table 5.5), fields in its order.
type header struct {
	HeaderSize               uint32
	MyLBA                    uint64
	AlternateLBA             uint64
	FirstUsableLBA           uint64
	LastUsableLBA            uint64
	DiskGUID                 uuid.UUID
	PartitionEntryLBA        uint64
	NumberOfPartitionEntries uint32
	SizeOfPartitionEntry     uint32
	PartitionEntryArrayCRC32 uint32
}

// encode returns the header with its checksum in a sector of its own.
func (h header) encode(sectorSize int) []byte {
	b := make([]byte, sectorSize)
	h.put(b)
	return b
}

// put writes the header with its checksum to its sector. What the sector has
// beside the fields, which is reserved, stays.
func (h header) put(b []byte) {
	copy(b, headerMagic)
	binary.LittleEndian.PutUint32(b[8:], headerRevision)
	binary.LittleEndian.PutUint32(b[12:], h.HeaderSize)
	binary.LittleEndian.PutUint64(b[24:], h.MyLBA)
	binary.LittleEndian.PutUint64(b[32:], h.AlternateLBA)
	binary.LittleEndian.PutUint64(b[40:], h.FirstUsableLBA)
	binary.LittleEndian.PutUint64(b[48:], h.LastUsableLBA)
	putGUID(b[56:], h.DiskGUID)
	binary.LittleEndian.PutUint64(b[72:], h.PartitionEntryLBA)
	binary.LittleEndian.PutUint32(b[80:], h.NumberOfPartitionEntries)
	binary.LittleEndian.PutUint32(b[84:], h.SizeOfPartitionEntry)
	binary.LittleEndian.PutUint32(b[88:], h.PartitionEntryArrayCRC32)
	clear(b[headerCRC : headerCRC+4])
	binary.LittleEndian.PutUint32(b[headerCRC:], crc32.ChecksumIEEE(b[:h.HeaderSize]))
}

// decodeHeader reads a sector that should hold a header. Its errors say what
// is wrong with the sector; its place and the meaning of the fields are the
// caller's.
func decodeHeader(b []byte) (header, error) {
	if magic := b[:len(headerMagic)]; string(magic) != headerMagic {
		return header{}, fmt.Errorf("found % X, not the signature %q", magic, headerMagic)
	}
	if revision := binary.LittleEndian.Uint32(b[8:]); revision != headerRevision {
		return header{}, fmt.Errorf("revision %08X, not %08X", revision, headerRevision)
	}
	h := header{
		HeaderSize:               binary.LittleEndian.Uint32(b[12:]),
		MyLBA:                    binary.LittleEndian.Uint64(b[24:]),
		AlternateLBA:             binary.LittleEndian.Uint64(b[32:]),
		FirstUsableLBA:           binary.LittleEndian.Uint64(b[40:]),
		LastUsableLBA:            binary.LittleEndian.Uint64(b[48:]),
		DiskGUID:                 getGUID(b[56:]),
		PartitionEntryLBA:        binary.LittleEndian.Uint64(b[72:]),
		NumberOfPartitionEntries: binary.LittleEndian.Uint32(b[80:]),
		SizeOfPartitionEntry:     binary.LittleEndian.Uint32(b[84:]),
		PartitionEntryArrayCRC32: binary.LittleEndian.Uint32(b[88:]),
	}
	if h.HeaderSize < headerSize || int64(h.HeaderSize) > int64(len(b)) {
		return header{}, fmt.Errorf("header size %d, not within %d and %d", h.HeaderSize, headerSize, len(b))
	}
	covered := append([]byte(nil), b[:h.HeaderSize]...)
	stored := binary.LittleEndian.Uint32(covered[headerCRC:])
	clear(covered[headerCRC : headerCRC+4])
	if sum := crc32.ChecksumIEEE(covered); sum != stored {
		return header{}, fmt.Errorf("header checksum %08X, computed %08X", stored, sum)
	}
	return h, nil
}
