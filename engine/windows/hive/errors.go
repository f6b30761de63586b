package hive

import (
	"errors"
	"fmt"
)

// What can be wrong with a hive or a request to change it. Errors returned by
// this package wrap one of these and say which structure, at which offset in
// the file, holds what.
var (
	ErrNotHive = errors.New("not a registry hive")
	ErrCorrupt = errors.New("registry hive is corrupt")
	ErrDirty   = errors.New("registry hive is dirty: its transaction logs have not been applied")
	ErrNoSpace = errors.New("registry hive has no free cell large enough")
	// ErrLogUnusable is for a dirty hive whose logs do not make it whole.
	ErrLogUnusable = errors.New("registry hive is dirty, and its transaction logs cannot be applied")

	ErrNotFound = errors.New("not found in the registry hive")
)

// corrupt reports a structure at off, a cell offset counted from the first bin.
func corrupt(off uint32, format string, args ...any) error {
	return fmt.Errorf("%w: at %#x: %s", ErrCorrupt, int64(off)+baseBlockSize, fmt.Sprintf(format, args...))
}
