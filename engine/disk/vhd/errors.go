package vhd

import (
	"errors"
	"io"

	"imageport/engine/disk/container"
)

// The kinds of refusal. Errors about a file's contents are Problems of one of
// these kinds; others wrap the error of the file's reader.
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

// Problem is an error about one structure of a file: Open returns one and
// Check reports all.
type Problem = container.Problem

// refuse is an error about one structure. The format says what was found and
// what was expected.
func refuse(kind error, structure string, off int64, format string, args ...any) *Problem {
	return container.Refuse(kind, structure, off, format, args...)
}

func corrupt(structure string, off int64, format string, args ...any) *Problem {
	return refuse(ErrCorrupt, structure, off, format, args...)
}

// readFull reads a structure that the file must hold whole.
func readFull(r io.ReaderAt, structure string, off int64, p []byte) error {
	return container.ReadFull(r, ErrCorrupt, structure, off, p)
}
