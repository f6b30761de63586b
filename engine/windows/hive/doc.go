// Package hive reads, builds and edits offline registry hives: the files in
// System32\config, and the boot configuration store.
//
// A hive is decoded from and into bytes in memory. Reading bounds-checks every
// offset, refuses cycles and never allocates much more than the file holds.
// Building is deterministic: the same tree gives the same bytes. Editing in
// place changes one value and nothing else, and never grows the file, so that
// the clusters a hive occupies can be patched without a file system driver.
//
// It does not replay transaction logs (.LOG1, .LOG2): a hive that needs it says
// so with Dirty, and refuses to be edited. It reads versions 1.3 to 1.6 only,
// and ignores volatile keys, which exist in memory alone.
//
// Field names follow the format's common description ("Windows NT Registry File
// (REGF) format"): base block, bins (hbin), cells, and in the cells key nodes
// (nk), values (vk), security (sk), subkey lists (lf, lh, li, ri), big data (db).
package hive
