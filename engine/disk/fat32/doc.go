// Package fat32 builds the FAT32 file system of an EFI system partition in one
// pass, and reads one back. The format is that of the Microsoft FAT32 File
// System Specification 1.03, with long names; comments quote its headings.
//
// Format is for a volume that is filled once: files are contiguous, the result
// depends on nothing but its arguments, and it is written front to back, so
// that nothing of what the device held before can be taken for part of it. The
// reader shares nothing with it but the offsets of the format; Check is an fsck
// that repairs nothing. Times are in UTC on both sides.
//
// It does not change an existing volume, know FAT12 or FAT16, make a volume
// that a BIOS can boot, or store Windows' compressed or alternate streams.
package fat32
