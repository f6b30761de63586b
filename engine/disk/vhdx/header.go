package vhdx

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// header is the part of a header structure that a reader needs, [MS-VHDX] 2.2.2.
type header struct {
	sequence  uint64
	fileWrite uuid.UUID
	dataWrite uuid.UUID
	log       uuid.UUID
	version   uint16
	logLength uint32
	logOffset uint64
	// offset is where this copy lies in the file.
	offset int64
}

// readFileIdentifier checks the signature and gives the creator, [MS-VHDX] 2.2.1.
func readFileIdentifier(r io.ReaderAt) (creator string, err error) {
	p := make([]byte, creatorOffset+creatorSize)
	n, err := r.ReadAt(p, fileIdentifierOffset)
	if n < len(p) && err != nil && err != io.EOF {
		return "", fmt.Errorf("vhdx: reading file identifier at offset 0: %w", err)
	}
	p = p[:n]
	if !bytes.HasPrefix(p, []byte(fileSignature)) {
		return "", refuse(ErrNotVHDX, "file identifier", fileIdentifierOffset,
			"found %q, expected %q", p[:min(n, len(fileSignature))], fileSignature)
	}
	creator, _, _ = strings.Cut(decodeUTF16(p[creatorOffset:]), "\x00")
	return creator, nil
}

// currentHeader reads both headers and gives the current one: valid, with the
// higher sequence number. Equal numbers are accepted if all else is equal too,
// as some writers leave them.
func currentHeader(r io.ReaderAt) (header, error) {
	var raw [2][]byte
	var invalid [2]error
	for i, off := range []int64{header1Offset, header2Offset} {
		raw[i] = make([]byte, headerSize)
		if err := readFull(r, fmt.Sprintf("header %d", i+1), off, raw[i]); err != nil {
			return header{}, err
		}
		invalid[i] = verifyChecksum(raw[i], headerSignature)
	}
	first, second := parseHeader(raw[0], header1Offset), parseHeader(raw[1], header2Offset)

	current := first
	switch {
	case invalid[0] != nil && invalid[1] != nil:
		return header{}, corrupt("headers 1 and 2", header1Offset, "both invalid: %v; %v", invalid[0], invalid[1])
	case invalid[0] != nil:
		current = second
	case invalid[1] != nil:
	case first.sequence == second.sequence:
		if !bytes.Equal(raw[0], raw[1]) {
			return header{}, corrupt("headers 1 and 2", header1Offset,
				"both valid with sequence number %d, but different", first.sequence)
		}
	case second.sequence > first.sequence:
		current = second
	}
	if current.version != formatVersion {
		return header{}, refuse(ErrUnsupported, "header", current.offset,
			"found version %d, expected %d", current.version, formatVersion)
	}
	return current, nil
}

func parseHeader(p []byte, off int64) header {
	return header{
		sequence:  le.Uint64(p[8:]),
		fileWrite: guid(p[16:]),
		dataWrite: guid(p[32:]),
		log:       guid(p[48:]),
		version:   le.Uint16(p[66:]),
		logLength: le.Uint32(p[68:]),
		logOffset: le.Uint64(p[72:]),
		offset:    off,
	}
}

// verifyChecksum says why a header or region table is not valid.
func verifyChecksum(p []byte, signature string) error {
	if found := p[:len(signature)]; string(found) != signature {
		return fmt.Errorf("found signature %q, expected %q", found, signature)
	}
	if found, want := le.Uint32(p[4:]), checksum(p); found != want {
		return fmt.Errorf("found checksum %#08x, expected %#08x", found, want)
	}
	return nil
}

// region is an entry of the region table, [MS-VHDX] 2.2.3.2.
type region struct {
	id       uuid.UUID
	offset   uint64
	length   uint32
	required bool
}

// readRegions gives the region table. One valid copy is enough; two must agree,
// because all changes to them go through the log, which is empty.
func readRegions(r io.ReaderAt) ([]region, error) {
	var tables [2][]region
	var invalid [2]error
	for i, off := range []int64{regionTable1Offset, regionTable2Offset} {
		p := make([]byte, regionTableSize)
		structure := fmt.Sprintf("region table %d", i+1)
		if err := readFull(r, structure, off, p); err != nil {
			return nil, err
		}
		if invalid[i] = verifyChecksum(p, regionSignature); invalid[i] != nil {
			continue
		}
		count := le.Uint32(p[8:])
		if count > maxTableEntries {
			return nil, corrupt(structure, off, "found %d entries, expected at most %d", count, maxTableEntries)
		}
		for e := range int(count) {
			q := p[16+tableEntrySize*e:]
			tables[i] = append(tables[i], region{
				id:       guid(q),
				offset:   le.Uint64(q[16:]),
				length:   le.Uint32(q[24:]),
				required: le.Uint32(q[28:])&1 != 0,
			})
		}
	}
	switch {
	case invalid[0] != nil && invalid[1] != nil:
		return nil, corrupt("region tables 1 and 2", regionTable1Offset, "both invalid: %v; %v", invalid[0], invalid[1])
	case invalid[0] != nil:
		return tables[1], nil
	case invalid[1] == nil && !slices.Equal(tables[0], tables[1]):
		return nil, corrupt("region tables 1 and 2", regionTable1Offset, "both valid, but different")
	}
	return tables[0], nil
}

// occupancy remembers which MiB of the file belong to a structure. Everything
// in a VHDX file is allocated in whole, aligned MiB.
type occupancy struct {
	fileSize int64
	used     []uint64
}

// maxFileSize bounds the memory of occupancy to 16 MiB. The biggest virtual
// disk, fully allocated with its BAT and bitmaps, needs half of it.
const maxFileSize = 2 * maxVirtualSize

func newOccupancy(fileSize int64) *occupancy {
	units := (fileSize + mib - 1) / mib
	return &occupancy{fileSize: fileSize, used: make([]uint64, (units+63)/64)}
}

// claim marks [off, off+length) and fails if it is not aligned, not inside the
// file or not free. entryOffset is where the claim is made.
func (o *occupancy) claim(structure string, entryOffset int64, off, length uint64) error {
	switch {
	case off%mib != 0 || length == 0:
		return corrupt(structure, entryOffset, "points to %d bytes at %#x, expected a multiple of 1 MiB", length, off)
	case off > uint64(o.fileSize) || length > uint64(o.fileSize)-off:
		return corrupt(structure, entryOffset, "points to %d bytes at %#x, but the file ends at %#x", length, off, o.fileSize)
	}
	for unit := off / mib; unit*mib < off+length; unit++ {
		if o.used[unit/64]&(1<<(unit%64)) != 0 {
			return corrupt(structure, entryOffset, "points to %d bytes at %#x, but %#x belongs to another structure", length, off, unit*mib)
		}
		o.used[unit/64] |= 1 << (unit % 64)
	}
	return nil
}
