// Package bcd reads, writes and converts boot configuration data stores: the
// registry hive in which the Windows boot manager finds what it can boot.
//
// Convert turns the store of a BIOS installation into that of the same
// installation started by UEFI from a GUID partition table, keeping everything
// that does not depend on the firmware: recovery entries, locale, custom
// elements, further systems. Devices that it has no mapping for are kept and
// reported, unless the default entry needs them. Recovery makes the second store
// of an EFI system partition from it, and Inspect tells for each what is started
// from where, so that a caller can look whether it is there.
//
// It makes no other stores from nothing (though New and the setters let a program
// do it), does not look at disks or files, and writes no firmware variables: the
// boot manager adds its own entries when it is first started.
//
// The formats are those of BCD hives as found in the wild; names of objects and
// elements are bcdedit's. Type and element codes: Microsoft's "Boot Configuration
// Data" reference (BcdObjectType, BcdLibraryElementTypes and so on).
package bcd
