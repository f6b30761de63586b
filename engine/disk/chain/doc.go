// Package chain opens an image together with its parents, all in one folder,
// as one disk: VHDX and VHD chains of up to 64 files, and raw images.
//
// It guarantees that every parent is the one its child was made from (linkage,
// virtual size, sector size), that a file is used once, that only plain names
// of the folder are opened and nothing is written, and that all files are
// closed if opening fails. Opening reads headers and metadata, not the tables
// that grow with the disk; of tables, all files together keep 32 MiB, and of
// logs 64 MiB.
//
// It does not follow paths to other folders or shares, guess raw images, cache
// data, or notice by itself that a file changes: ask Unchanged. That blocks
// share space in a file is for Check to find.
package chain
