// Package bootcheck proves that a disk starts Windows on UEFI firmware: it
// reads the partition tables, the EFI system partition, the boot configuration
// and what they lead to, as firmware, boot manager and Windows would.
//
// It guarantees independence: nothing here is shared with the code that writes
// such disks, neither readers nor tables, so that one misunderstanding cannot
// be in both. The formats are those of the UEFI Specification 2.10 (chapters 5
// and 13), the Microsoft FAT32 File System Specification 1.03, the public
// descriptions of registry hives and, for devices in a boot configuration
// store, of what Windows stores. Hostile bytes give errors, never a panic, an
// endless loop or an outsized allocation.
//
// It does not run anything, judge drivers or Secure Boot signatures, or repair.
package bootcheck
