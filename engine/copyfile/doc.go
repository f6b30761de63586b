// Package copyfile gives the copier its targets in the file system: sparse raw
// files and block devices.
//
// It guarantees that Create never touches an existing file, that a Sync also
// makes the name of a created file durable, that nothing is written behind the
// size that was asked for, and that OpenWhole has a block device for itself. It
// does not lock files, remove what a failed copy left, or know image formats.
package copyfile
