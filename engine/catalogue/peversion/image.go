package peversion

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes and limits of [PE] "PE Format".
const (
	dosHeaderBytes     = 64
	coffHeaderBytes    = 4 + 20 // with the signature before it
	sectionHeaderBytes = 40
	// maxOptionalBytes has all 16 data directories of a PE32+.
	maxOptionalBytes = 112 + 16*8
	// maxSections is what the loader of Windows takes.
	maxSections = 96
	// resourceDirectory is the index of the resources' data directory.
	resourceDirectory = 2
)

// image is a program, as its headers describe it.
type image struct {
	r         io.ReaderAt
	sizeBytes int64
	machine   uint16
	// resources is the RVA of the root of the resources, 0 if there are none.
	resources uint32
	sections  []section
}

// section is what of a section is in the file.
type section struct {
	rva       uint32
	offset    uint32
	sizeBytes uint32
}

func readImage(r io.ReaderAt, sizeBytes int64) (*image, error) {
	im := &image{r: r, sizeBytes: sizeBytes}
	dos, err := im.read(0, dosHeaderBytes)
	if err != nil {
		return nil, headerFault("the DOS header", 0, err)
	}
	if string(dos[:2]) != "MZ" {
		return nil, fmt.Errorf("%w: at offset 0 there is %q, not \"MZ\"", ErrNotPE, dos[:2])
	}
	at := int64(binary.LittleEndian.Uint32(dos[0x3c:]))
	coff, err := im.read(at, coffHeaderBytes)
	if err != nil {
		return nil, headerFault("the PE header", at, err)
	}
	if string(coff[:4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("%w: at offset %#x there is %q, not \"PE\\0\\0\"", ErrNotPE, at, coff[:4])
	}
	im.machine = binary.LittleEndian.Uint16(coff[4:])
	sections := int(binary.LittleEndian.Uint16(coff[6:]))
	if sections > maxSections {
		return nil, fmt.Errorf("%w: the header at offset %#x has %d sections, and Windows takes %d", ErrNotPE, at, sections, maxSections)
	}
	optionalBytes := int64(binary.LittleEndian.Uint16(coff[20:]))
	optionalAt := at + coffHeaderBytes
	optional, err := im.read(optionalAt, int(min(optionalBytes, maxOptionalBytes)))
	if err != nil {
		return nil, headerFault("the optional header", optionalAt, err)
	}
	if im.resources, err = resourceRVA(optional); err != nil {
		return nil, fmt.Errorf("%w: the optional header at offset %#x %w", ErrNotPE, optionalAt, err)
	}
	tableAt := optionalAt + optionalBytes
	table, err := im.read(tableAt, sections*sectionHeaderBytes)
	if err != nil {
		return nil, headerFault("the section table", tableAt, err)
	}
	for ; len(table) > 0; table = table[sectionHeaderBytes:] {
		im.sections = append(im.sections, section{
			rva:       binary.LittleEndian.Uint32(table[12:]),
			sizeBytes: binary.LittleEndian.Uint32(table[16:]),
			offset:    binary.LittleEndian.Uint32(table[20:]),
		})
	}
	return im, nil
}

// resourceRVA finds the root of the resources in the optional header, 0 for
// none. The error goes on after "the optional header".
func resourceRVA(optional []byte) (uint32, error) {
	if len(optional) < 2 {
		return 0, errors.New("is missing")
	}
	var countAt int
	switch magic := binary.LittleEndian.Uint16(optional); magic {
	case 0x10b: // PE32
		countAt = 92
	case 0x20b: // PE32+
		countAt = 108
	default:
		return 0, fmt.Errorf("begins with %#x, neither 0x10b nor 0x20b", magic)
	}
	entry := countAt + 4 + resourceDirectory*8
	if len(optional) < countAt+4 {
		return 0, fmt.Errorf("has %d bytes, fewer than %d", len(optional), countAt+4)
	}
	if binary.LittleEndian.Uint32(optional[countAt:]) <= resourceDirectory || len(optional) < entry+8 {
		return 0, nil
	}
	return binary.LittleEndian.Uint32(optional[entry:]), nil
}

// arch gives the name of the machine.
func (im *image) arch() string {
	switch im.machine {
	case 0x8664:
		return "x64"
	case 0x014c:
		return "x86"
	case 0xaa64:
		return "arm64"
	}
	return fmt.Sprintf("%#04x", im.machine)
}

// read reads n bytes of the file. io.ErrUnexpectedEOF says that it has not so
// many.
func (im *image) read(offset int64, n int) ([]byte, error) {
	if offset < 0 || offset > im.sizeBytes-int64(n) {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	if got, err := im.r.ReadAt(b, offset); got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// headerFault explains why a header was not read.
func headerFault(what string, at int64, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file ends before %s at offset %#x", ErrNotPE, what, at)
	}
	return fmt.Errorf("read %s at offset %#x: %w", what, at, err)
}

// readMemory reads n bytes at an RVA: an address in the memory that the program
// would be loaded to.
func (im *image) readMemory(rva uint32, n int, what string) ([]byte, error) {
	for _, s := range im.sections {
		if rva < s.rva || int64(rva-s.rva)+int64(n) > int64(s.sizeBytes) {
			continue
		}
		b, err := im.read(int64(s.offset)+int64(rva-s.rva), n)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("%w: %s, %d bytes at RVA %#x, is in no section of the file", ErrCorrupt, what, n, rva)
}
