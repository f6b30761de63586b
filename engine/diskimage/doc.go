// Package diskimage is what the command line does with image files in folders,
// local or on a share: describe, map, check, convert, create and compare them,
// each with the chain of its parents.
//
// It guarantees that images are only read; that a new image gets its name when
// it is complete and synced, and replaces nothing unless told to, never one of
// the files it was made from; that nothing is left of one that failed, but for
// Output.Resume and Output.Device; that memory grows with what a differencing
// image changes, and with nothing else; and that refusals have code and remedy
// of a *job.Error, while a context that has ended gives an error that wraps its
// own.
//
// It does not repair what Check finds, or read back what it wrote.
package diskimage
