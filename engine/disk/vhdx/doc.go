// Package vhdx reads and writes VHDX files (fixed, dynamic, differencing) after
// [MS-VHDX] v20240423.
//
// It guarantees that nothing is read from a file through a structure that does
// not verify (checksums, bounds, unknown required parts); that what an image
// needs to be opened, of the file and of memory, does not grow with its disk;
// that an image which was not written to its end has no file identifier and so
// is no VHDX to anybody; and that no existing file is changed: a
// dirty log is replayed in memory. What only Check finds are blocks that share
// space in the file.
//
// It does not resolve the paths of parents or join the extents of a chain.
package vhdx
