package uki

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// ErrSection: a section cannot be added.
var ErrSection = errors.New("not a section that can be added")

// Section is a part of the image: ".cmdline", ".initrd", ".linux" and so on.
type Section struct {
	Name string // up to 8 bytes of ASCII
	Data []byte
}

// Build appends sections to a boot stub, in their order. A signature of the
// stub is left out, as it would not hold. Errors wrap ErrPE or ErrSection.
func Build(stub []byte, sections []Section) ([]byte, error) {
	m, err := open(stub)
	if err != nil {
		return nil, err
	}
	tableEnd := m.table + (m.sections+len(sections))*sectionHeaderSize
	if tableEnd > int(m.headers) || tableEnd > len(stub) {
		return nil, fmt.Errorf("%w: %d sections: the stub's headers have room for %d bytes, want %d", ErrSection, len(sections), m.headers, tableEnd)
	}
	for i := range m.sections {
		// Where the first section begins the table must have ended.
		if at := le.Uint32(stub[m.table+i*sectionHeaderSize+rawOffsetAt:]); at != 0 && int(at) < tableEnd {
			return nil, fmt.Errorf("%w: %d sections: a section of the stub is at 0x%x already", ErrSection, len(sections), at)
		}
	}
	size := align(uint64(m.rawEnd), uint64(m.fileAlignment))
	for _, s := range sections {
		if s.Name == "" || len(s.Name) > sectionNameSize || len(s.Data) == 0 {
			return nil, fmt.Errorf("%w: %q with %d bytes", ErrSection, s.Name, len(s.Data))
		}
		size += align(uint64(len(s.Data)), uint64(m.fileAlignment))
	}
	if uint64(m.memoryEnd)+size > math.MaxInt32 {
		return nil, fmt.Errorf("%w: all have %d bytes, want less than 2 GiB", ErrSection, size)
	}
	out := make([]byte, m.rawEnd, size)
	copy(out, stub)
	return m.append(out, sections), nil
}

// append adds sections that are known to fit to what is in the file so far.
func (m image) append(out []byte, sections []Section) []byte {
	pad := func() {
		out = append(out, make([]byte, align(uint64(len(out)), uint64(m.fileAlignment))-uint64(len(out)))...)
	}
	pad()
	address := align(uint64(m.memoryEnd), uint64(m.sectionAlignment))
	begin := len(out)
	for i, s := range sections {
		at := len(out)
		out = append(out, s.Data...)
		pad()
		header := out[m.table+(m.sections+i)*sectionHeaderSize:][:sectionHeaderSize]
		clear(header)
		copy(header, s.Name)
		le.PutUint32(header[virtualSizeAt:], uint32(len(s.Data)))
		le.PutUint32(header[addressAt:], uint32(address))
		le.PutUint32(header[rawSizeAt:], uint32(len(out)-at))
		le.PutUint32(header[rawOffsetAt:], uint32(at))
		le.PutUint32(header[flagsAt:], initializedReadable)
		address = align(address+uint64(len(s.Data)), uint64(m.sectionAlignment))
	}
	coff, optional := out[m.coff:m.optional], out[m.optional:m.table]
	le.PutUint16(coff[sectionsAt:], uint16(m.sections+len(sections)))
	clear(coff[symbolsAt:optionalSizeAt]) // they were behind the stub's sections
	le.PutUint32(optional[initializedSizeAt:], le.Uint32(optional[initializedSizeAt:])+uint32(len(out)-begin))
	le.PutUint32(optional[imageSizeAt:], uint32(address))
	le.PutUint32(optional[checksumAt:], 0) // firmware looks at it for drivers only
	clear(optional[certificatesAt:][:8])
	return out
}

// ErrSigned: a file is not the image with a signature.
var ErrSigned = errors.New("not the signed image")

// CheckSigned says in what a file is not the image that Build has made with a
// signature, and nothing else changed: the bytes that Authenticode hashes are
// the same. It does not verify the signature. Errors wrap ErrSigned.
func CheckSigned(built, signed []byte) error {
	m, err := open(built)
	if err != nil {
		return err
	}
	if len(signed) < len(built) {
		return fmt.Errorf("%w: it has %d bytes, the image %d", ErrSigned, len(signed), len(built))
	}
	// These two change: "Process for Generating the Authenticode PE Image Hash".
	checksum, certificates := m.optional+checksumAt, m.optional+certificatesAt
	for _, part := range [][2]int{{0, checksum}, {checksum + 4, certificates}, {certificates + 8, len(built)}} {
		if !bytes.Equal(built[part[0]:part[1]], signed[part[0]:part[1]]) {
			return fmt.Errorf("%w: it differs from the image between 0x%x and 0x%x", ErrSigned, part[0], part[1])
		}
	}
	at, size := uint64(le.Uint32(signed[certificates:])), uint64(le.Uint32(signed[certificates+4:]))
	if size == 0 {
		return fmt.Errorf("%w: it has no signature", ErrSigned)
	}
	if at != align(uint64(len(built)), 8) || at+size != uint64(len(signed)) {
		return fmt.Errorf("%w: its signature is at 0x%x to 0x%x of 0x%x bytes, want it from 0x%x to the end", ErrSigned, at, at+size, len(signed), len(built))
	}
	return nil
}
