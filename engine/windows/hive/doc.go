// Package hive reads, builds and edits offline registry hives: the files in
// System32\config, and the boot configuration store.
//
// A hive is decoded from and into bytes in memory. Reading bounds-checks every
// offset, refuses cycles and never allocates much more than the file holds.
// Building is deterministic: the same tree gives the same bytes. Editing in
// place adds, changes or removes one value or key and nothing else. It keeps the
// length of the file, so that the clusters a hive occupies can be patched without a
// file system driver, unless AllowGrowth lets it add bins.
//
// A hive that was not shut down says so with Dirty, and refuses to be edited.
// Replay applies its transaction logs (.LOG1, .LOG2, of both formats) and gives
// a clean hive, or refuses. The package reads versions 1.3 to 1.6 only, ignores
// volatile keys, which exist in memory alone, and repairs nothing else.
//
// Field names follow the format's common description ("Windows NT Registry File
// (REGF) format"): base block, bins (hbin), cells, and in the cells key nodes
// (nk), values (vk), security (sk), subkey lists (lf, lh, li, ri), big data (db).
package hive
