// Package vhdx reads VHDX files (fixed, dynamic, differencing) and writes
// differencing children, after [MS-VHDX] v20240423.
//
// It guarantees that nothing is read from a file whose structures do not
// verify (checksums, bounds, overlaps, unknown required parts), that memory is
// bounded by the file's real size, and that a child which was not written to
// its end has no file identifier and so is no VHDX to anybody.
//
// It does not replay logs (ErrDirtyLog), change existing files, resolve the
// paths of parents, or carry user metadata from a parent into its child.
package vhdx
