// Package wof decodes files that the Windows Overlay Filter has compressed
// (CompactOS, `compact /exe`): the reparse point that says how, and the stream
// WofCompressedData, at random access.
//
// It guarantees an error, never a panic, on hostile bytes, and memory of some
// 200 KiB a file, whatever sizes the file claims. It does not compress, does
// not verify contents (the format has no checksum), and does not read files
// whose data is in a WIM (WIMBoot): those it names and refuses.
//
// XPRESS follows [MS-XCA] 2.2 (LZ77+Huffman). LZX is that of WIM files:
// [MS-PATCH] 2.3 with a window of 32 KiB, blocks with sizes of 16 bits, and x86
// calls always translated; every chunk stands on its own.
package wof
