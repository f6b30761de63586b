// Package qmp speaks the QEMU Machine Protocol with a running QEMU: a line of
// JSON each, an answer to every command, and events in between. A Client is safe
// for concurrent use, every wait ends with its context, and what QEMU says is
// bounded. It knows which devices QEMU has let go of and why the machine was shut
// down; it starts no QEMU, and gives no command a meaning.
package qmp
