package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrPE: the bytes are not a PE program for x86-64 that sections can be added
// to. Sections below are those of Microsoft's "PE Format".
var ErrPE = errors.New("not a usable PE program")

var le = binary.LittleEndian

// The DOS stub, the signature and the COFF file header.
const (
	lfanewAt       = 0x3c // where the offset of the signature is
	signatureSize  = 4
	coffSize       = 20
	machineAt      = 0 // in the COFF file header, as those that follow
	sectionsAt     = 2
	symbolsAt      = 8
	optionalSizeAt = 16

	machineAMD64 = 0x8664
)

// The optional header, PE32+.
const (
	magicPlus          = 0x20b
	initializedSizeAt  = 8
	sectionAlignmentAt = 32
	fileAlignmentAt    = 36
	imageSizeAt        = 56
	headersSizeAt      = 60
	checksumAt         = 64
	directoriesAt      = 108 // how many data directories there are
	certificatesAt     = 144 // the certificate table: offset and size
	smallestOptional   = certificatesAt + 8

	fewestForCertificates = 5 // directories
)

// Section headers.
const (
	sectionHeaderSize = 40
	sectionNameSize   = 8
	virtualSizeAt     = 8
	addressAt         = 12
	rawSizeAt         = 16
	rawOffsetAt       = 20
	flagsAt           = 36

	initializedReadable = 0x40000040
)

// image is where the parts of a PE file are. Offsets are in the file.
type image struct {
	coff, optional, table int
	sections              int
	sectionAlignment      uint32
	fileAlignment         uint32
	headers               uint32 // bytes that are reserved for headers
	rawEnd                uint32 // behind the last section's bytes in the file
	memoryEnd             uint32 // behind the last section in memory
}

// open reads the headers of a PE file.
func open(file []byte) (image, error) {
	bad := func(what string, off int, found, expected any) (image, error) {
		return image{}, fmt.Errorf("%w: the %s at offset 0x%x is %v, want %v", ErrPE, what, off, found, expected)
	}
	if int64(len(file)) > math.MaxInt32 || len(file) < lfanewAt+4 || string(file[:2]) != "MZ" {
		return image{}, fmt.Errorf("%w: %d bytes without a DOS header", ErrPE, len(file))
	}
	signature := int64(le.Uint32(file[lfanewAt:]))
	if signature+signatureSize+coffSize > int64(len(file)) || string(file[signature:signature+signatureSize]) != "PE\x00\x00" {
		return bad("signature's place", lfanewAt, signature, "that of \"PE\\0\\0\"")
	}
	m := image{coff: int(signature) + signatureSize}
	m.optional = m.coff + coffSize
	coff := file[m.coff:]
	if machine := le.Uint16(coff[machineAt:]); machine != machineAMD64 {
		return bad("machine", m.coff, machine, machineAMD64)
	}
	m.sections = int(le.Uint16(coff[sectionsAt:]))
	size := int(le.Uint16(coff[optionalSizeAt:]))
	m.table = m.optional + size
	if size < smallestOptional || m.table+m.sections*sectionHeaderSize > len(file) {
		return bad("size of the optional header", m.coff+optionalSizeAt, size, fmt.Sprintf("%d or more, with %d section headers behind it", smallestOptional, m.sections))
	}
	optional := file[m.optional:m.table]
	if magic := le.Uint16(optional); magic != magicPlus {
		return bad("magic", m.optional, magic, magicPlus)
	}
	if n := le.Uint32(optional[directoriesAt:]); n < fewestForCertificates {
		return bad("number of data directories", m.optional+directoriesAt, n, "5 or more")
	}
	m.sectionAlignment, m.fileAlignment = le.Uint32(optional[sectionAlignmentAt:]), le.Uint32(optional[fileAlignmentAt:])
	for _, a := range []uint32{m.sectionAlignment, m.fileAlignment} {
		if a == 0 || a&(a-1) != 0 || a > 1<<16 {
			return bad("alignment", m.optional+sectionAlignmentAt, a, "a power of two up to 64 KiB")
		}
	}
	m.headers = le.Uint32(optional[headersSizeAt:])
	if int64(m.headers) > int64(len(file)) {
		return bad("size of the headers", m.optional+headersSizeAt, m.headers, fmt.Sprintf("at most %d", len(file)))
	}
	return m, m.readSections(file)
}

func (m *image) readSections(file []byte) error {
	m.rawEnd, m.memoryEnd = m.headers, m.headers
	for i := range m.sections {
		off := m.table + i*sectionHeaderSize
		header := file[off:]
		rawEnd := uint64(le.Uint32(header[rawOffsetAt:])) + uint64(le.Uint32(header[rawSizeAt:]))
		memoryEnd := uint64(le.Uint32(header[addressAt:])) + uint64(le.Uint32(header[virtualSizeAt:]))
		if rawEnd > uint64(len(file)) || memoryEnd > math.MaxInt32 {
			return fmt.Errorf("%w: the section at offset 0x%x ends at 0x%x of %d bytes, in memory at 0x%x", ErrPE, off, rawEnd, len(file), memoryEnd)
		}
		m.rawEnd, m.memoryEnd = max(m.rawEnd, uint32(rawEnd)), max(m.memoryEnd, uint32(memoryEnd))
	}
	return nil
}

// align rounds up to a multiple of a power of two.
func align(n, a uint64) uint64 { return (n + a - 1) &^ (a - 1) }
