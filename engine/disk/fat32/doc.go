// Package fat32 builds the FAT32 file system of an EFI system partition in one
// pass, reads one back, and adds files to one. The format is that of the
// Microsoft FAT32 File System Specification 1.03, with long names; comments
// quote its headings.
//
// Format is for a volume that is filled once: files are contiguous, the result
// depends on nothing but its arguments, and it is written front to back, so
// that nothing of what the device held before can be taken for part of it. The
// reader shares nothing with it but the offsets of the format; Check is an fsck
// that repairs nothing. Times are in UTC on both sides. AddFile changes a volume
// that Windows made, if it is sound, and leaves it sound.
//
// It does not replace, rename or delete what is on a volume, know FAT12 or
// FAT16, make a volume that a BIOS can boot, or store Windows' compressed or
// alternate streams.
package fat32
