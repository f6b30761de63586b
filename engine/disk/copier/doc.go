// Package copier copies the contents of a virtual disk to a target: several
// readers at a time, in the order of the source's files, without what the
// source does not store and without writing zeros to a target that has them.
//
// It guarantees that a copy that returned no error is synced and equal to the
// source (to the byte, skipped ranges as zeros), that a State names only what
// was synced before, that memory is Parallel x UnitSize and a few MiB for any
// size of disk, that digests do not depend on the order of work, and that no
// goroutine and no call to source or target is left when Copy returns.
//
// It does not interrupt a read or write that has begun, retry one that failed,
// or read back what it wrote; and it knows no files: targets are given.
package copier
