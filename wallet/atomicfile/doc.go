// Package atomicfile changes small files that must never be seen half-written:
// whoever reads one, and whatever is killed or loses power meanwhile, finds the
// old content or the new one, whole.
//
// It serves one writer at a time, who holds the Lock of the directory; readers
// need none. It is not for files that do not fit into memory, and the lock
// holds on one machine only.
package atomicfile
