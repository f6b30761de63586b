package vhdx

import (
	"errors"
	"fmt"
	"io"
)

// The kinds of refusal. Errors about a file's contents are Problems of one of
// these kinds; others wrap the error of the file's reader.
var (
	// ErrNotVHDX: the file has no VHDX file identifier.
	ErrNotVHDX = errors.New("not a VHDX file")
	// ErrCorrupt: a structure contradicts the specification, a checksum, or
	// the file's size (truncated files).
	ErrCorrupt = errors.New("corrupt VHDX file")
	// ErrDirtyLog: the log holds changes that are not in the file yet.
	ErrDirtyLog = errors.New("VHDX log is not empty")
	// ErrUnsupported: valid by the specification, as far as can be told, but
	// it needs something that this package does not know.
	ErrUnsupported = errors.New("unsupported VHDX feature")
	// ErrParentMismatch: the parent given is not the one that the child was
	// made from, or one was given or withheld against the image's type.
	ErrParentMismatch = errors.New("VHDX parent mismatch")
)

// Problem is an error about one structure of a file. Open returns one and
// Check reports all: errors.As tells what an error is about.
type Problem struct {
	// Structure is what is wrong, such as "payload BAT entry".
	Structure string
	// Offset is where it lies in the file, in bytes.
	Offset int64
	// Detail says what was found and, mostly, what was expected.
	Detail string
	// Kind is one of this package's errors.
	Kind error
}

func (p *Problem) Error() string {
	return fmt.Sprintf("vhdx: %s at offset %#x: %s: %v", p.Structure, p.Offset, p.Detail, p.Kind)
}

// Unwrap gives the kind.
func (p *Problem) Unwrap() error { return p.Kind }

// refuse is an error about one structure. The format says what was found and
// what was expected.
func refuse(kind error, structure string, off int64, format string, args ...any) error {
	return &Problem{structure, off, fmt.Sprintf(format, args...), kind}
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
		return fmt.Errorf("vhdx: reading %s at offset %#x: %w", structure, off, err)
	}
}
