package vhd

import (
	"errors"
	"fmt"
	"io"
)

// The kinds of refusal. Errors of this package wrap one of them, or the error
// of the file's reader, and say which structure at which offset in the file
// holds what, and what was expected.
var (
	// ErrNotVHD: the file has a VHD footer neither at its end nor at its start.
	ErrNotVHD = errors.New("not a VHD file")
	// ErrCorrupt: a structure contradicts the specification, a checksum, or
	// the file's size (truncated files).
	ErrCorrupt = errors.New("corrupt VHD file")
	// ErrUnsupported: valid by the specification, as far as can be told, but
	// it needs something that this package does not know.
	ErrUnsupported = errors.New("unsupported VHD feature")
	// ErrParentMismatch: the parent given is not the one that the child was
	// made from, or one was given or withheld against the image's type.
	ErrParentMismatch = errors.New("VHD parent mismatch")
)

// refuse is an error about one structure. The format says what was found and
// what was expected.
func refuse(kind error, structure string, off int64, format string, args ...any) error {
	return fmt.Errorf("vhd: %s at offset %#x: %s: %w", structure, off, fmt.Sprintf(format, args...), kind)
}

func corrupt(structure string, off int64, format string, args ...any) error {
	return refuse(ErrCorrupt, structure, off, format, args...)
}

// readFull reads a structure that the file must hold whole.
func readFull(r io.ReaderAt, structure string, off int64, p []byte) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF || err == io.ErrUnexpectedEOF:
		return corrupt(structure, off, "the file ends after %d of %d bytes", n, len(p))
	default:
		return fmt.Errorf("vhd: reading %s at offset %#x: %w", structure, off, err)
	}
}
