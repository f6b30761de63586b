// Package xenbus speaks with xenstore, the small database by which a machine on
// Xen and its host know of each other, over the device that Linux has for it.
// Paths are relative to the machine's own directory. One request at a time, no
// transactions, no watches.
package xenbus
