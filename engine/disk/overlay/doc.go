// Package overlay keeps changes to an immutable disk in memory, as 4 KiB pages
// over a base that is only read. What is not written reads as the base.
//
// It guarantees that the base is never written, that a refused or failed
// WriteAt says how many bytes it changed, and that Pages comes in ascending
// order. It does not spill to a file: memory grows with the pages written
// (DirtyBytes), and a page written with the base's own bytes stays dirty until
// DropUnchanged.
package overlay
