package wof

import (
	"errors"
	"fmt"
)

// The kinds of failure of this package; every error about the data wraps one
// of them. Errors of the reader below are wrapped too, and match neither.
var (
	// ErrCorrupt: the bytes contradict the format or the file's size.
	ErrCorrupt = errors.New("WOF data is corrupt")
	// ErrUnsupported: well-formed, but this package does not decode it.
	ErrUnsupported = errors.New("not supported by the WOF decoder")
)

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// What can be wrong inside a chunk; the decoders wrap it into ErrCorrupt with
// the place.
var (
	errCode      = errors.New("code lengths that make no prefix code")
	errNoSymbol  = errors.New("a symbol of a prefix code that has none")
	errShort     = errors.New("the data ends too early")
	errReference = errors.New("a reference to before the chunk")
	errLength    = errors.New("a reference or block that ends behind the chunk")
	errBlockType = errors.New("an unknown block type")
	errRun       = errors.New("a malformed run of code lengths")
)
