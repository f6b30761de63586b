package ntfs

import (
	"errors"
	"fmt"
	"io/fs"
)

// The kinds of failure of this package; every error it makes wraps one of
// them. Errors of the reader below are wrapped too, and match none of them.
var (
	// ErrNotNTFS: the boot sector is not that of an NTFS volume.
	ErrNotNTFS = errors.New("not an NTFS volume")
	// ErrCorrupt: a structure contradicts the format or the volume's size.
	ErrCorrupt = errors.New("NTFS volume is corrupt")
	// ErrNotFound: no file of that name. It also matches fs.ErrNotExist.
	ErrNotFound = fmt.Errorf("not found on the NTFS volume: %w", fs.ErrNotExist)
	// ErrNotEditable: the file's data cannot be edited in place.
	ErrNotEditable = errors.New("cannot be edited in place")
	// ErrUnsupported: well-formed, but this package does not read it.
	ErrUnsupported = errors.New("not supported by the NTFS reader")
)

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
