// Package fusefile shows bytes that only this process can reach as one regular
// file in a private directory, for a tool that runs as a subprocess: [Mount]
// and [MountReadOnly] do so by FUSE, until Close.
//
// It guarantees that everything the tool has written has arrived at the
// WriterAt when Close returns nil, that Err and Close name the cause of every
// EIO the tool has seen, and that nothing stays mounted: not after Close, not
// after the context has ended, and not longer than the process lives (the empty
// mount point of a killed one is removed by [CleanStale]).
// It does not lock, resize or map partitions, needs the right to mount (root,
// or CAP_SYS_ADMIN), and its files must never be opened by the process that
// serves them: a thread that waits for itself waits for ever.
package fusefile
