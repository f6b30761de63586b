// Package ntfs reads the NTFS volume of an offline Windows without mounting it.
//
// It finds files by path, reads their unnamed data stream, also where NTFS or
// WOF (CompactOS) compressed it, tells where on the volume that data lies
// ([File.Extents], for same-size edits in place) and what is free, and reports
// whether Windows left the volume in a state that may be edited: dirty flag,
// journal, hibernation. It guarantees an error, never a panic, a loop or an
// outsized allocation, on hostile bytes, and never writes. It does not follow
// other reparse points, replay the journal, or decode EFS and WIMBoot files:
// those it names and refuses.
//
// Structures are named as in the public description of the format by the
// Linux-NTFS project; compression follows [MS-XCA] 2.5 (LZNT1). All integers
// on disk are little-endian. A Volume and its Files are safe for concurrent
// use if the reader below them is.
package ntfs
