package biosboot

import (
	"debug/pe"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrNotUKI says that the file is not a PE file for x86-64 with exactly one
	// section .linux and .initrd, and at most one .cmdline (UAPI.5, "Unified
	// Kernel Image").
	ErrNotUKI = errors.New("not a unified kernel image")
	// ErrAlignment says that a section does not begin at a sector of the disk:
	// the PE file has to be written with a FileAlignment of at least 512.
	ErrAlignment = errors.New("section not aligned to sectors")
)

// piece is a part of the UKI that the loader loads, in bytes of the file. Its
// offset is a multiple of SectorSize.
type piece struct {
	offset, size int64
}

// image is what the loader has to know of a UKI.
type image struct {
	pieces [4]piece // setup, command line, kernel, initrd
	memory memory
}

// readImage finds the pieces of a UKI of size bytes.
func readImage(uki io.ReaderAt, size int64) (image, error) {
	file, err := openPE(uki, size)
	if err != nil {
		return image{}, err
	}
	linux, err := section(file, size, ".linux")
	if err != nil {
		return image{}, err
	}
	initrd, err := section(file, size, ".initrd")
	if err != nil {
		return image{}, err
	}
	cmdline, err := section(file, size, ".cmdline")
	switch {
	case errors.Is(err, errNoSection): // then the kernel gets an empty one
	case err != nil:
		return image{}, err
	}
	for _, s := range []struct {
		name string
		piece
	}{{".linux", linux}, {".initrd", initrd}} {
		if s.size == 0 {
			return image{}, fmt.Errorf("biosboot: section %s is empty: %w", s.name, ErrNotUKI)
		}
	}

	k, err := readKernel(uki, linux)
	if err != nil {
		return image{}, err
	}
	if cmdline.size > k.maxCmdline {
		return image{}, fmt.Errorf("biosboot: section .cmdline has %d bytes, the kernel takes %d: %w", cmdline.size, k.maxCmdline, ErrTooBig)
	}
	m, err := k.plan(initrd.size)
	if err != nil {
		return image{}, err
	}
	return image{pieces: [4]piece{k.setup, cmdline, k.code, initrd}, memory: m}, nil
}

// openPE reads the headers. Package pe bounds what it allocates by the file.
func openPE(uki io.ReaderAt, size int64) (*pe.File, error) {
	magic := make([]byte, 2)
	if size < int64(len(magic)) {
		return nil, fmt.Errorf("biosboot: a file of %d bytes: %w", size, ErrNotUKI)
	}
	// Without it package pe would take the file for an object file.
	if err := readFull(uki, magic, 0); err != nil {
		return nil, err
	}
	if string(magic) != "MZ" {
		return nil, fmt.Errorf("biosboot: offset 0: found % X, not the DOS header's MZ: %w", magic, ErrNotUKI)
	}
	headers := &noting{r: uki}
	file, err := pe.NewFile(io.NewSectionReader(headers, 0, size))
	if headers.err != nil {
		return nil, fmt.Errorf("biosboot: read the PE headers: %w", headers.err)
	}
	if err != nil {
		return nil, fmt.Errorf("biosboot: read the PE headers: %w: %w", err, ErrNotUKI)
	}
	if file.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		return nil, fmt.Errorf("biosboot: COFF header: machine 0x%04X, expected 0x%04X (x86-64): %w", file.Machine, pe.IMAGE_FILE_MACHINE_AMD64, ErrNotUKI)
	}
	return file, nil
}

// noting is a reader that notes its error: package pe passes over some, and
// would find zeros in the headers.
type noting struct {
	r   io.ReaderAt
	err error
}

func (n *noting) ReadAt(p []byte, off int64) (int, error) {
	read, err := n.r.ReadAt(p, off)
	if err != nil && err != io.EOF && n.err == nil {
		n.err = err
	}
	return read, err
}

// errNoSection says that a section is not there.
var errNoSection = fmt.Errorf("no such section: %w", ErrNotUKI)

// section finds the contents of a section. VirtualSize is how much there is;
// SizeOfRawData includes the padding behind.
func section(file *pe.File, size int64, name string) (piece, error) {
	var found *pe.Section
	for _, s := range file.Sections {
		if s.Name != name {
			continue
		}
		if found != nil {
			return piece{}, fmt.Errorf("biosboot: the PE file has two sections %s, at offsets %d and %d: %w", name, found.Offset, s.Offset, ErrNotUKI)
		}
		found = s
	}
	if found == nil {
		return piece{}, fmt.Errorf("biosboot: section %s: %w", name, errNoSection)
	}
	p := piece{int64(found.Offset), int64(found.VirtualSize)}
	switch {
	case found.VirtualSize > found.Size:
		return piece{}, fmt.Errorf("biosboot: section %s has %d bytes, of which the file has %d: %w", name, found.VirtualSize, found.Size, ErrNotUKI)
	case p.offset+p.size > size:
		return piece{}, fmt.Errorf("biosboot: section %s, %d bytes at offset %d, ends beyond the file of %d bytes: %w", name, p.size, p.offset, size, ErrNotUKI)
	case p.offset%SectorSize != 0:
		return piece{}, fmt.Errorf("biosboot: section %s is at offset %d, no multiple of %d: %w", name, p.offset, SectorSize, ErrAlignment)
	}
	return p, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil // io.ReaderAt may return io.EOF with the last byte
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("biosboot: read the UKI, offset %d, %d bytes: %w", off, len(b), err)
}
