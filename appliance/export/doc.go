// Package export puts the appliance, which is one UEFI program (a unified
// kernel image, UKI), into the files that platforms take a virtual machine's
// boot disk from: raw, OVA, VHD, Google Cloud's tar.gz, and a bootable ISO.
//
// The disk is the same in all but the ISO: a GPT with an EFI system partition
// that holds the UKI in one piece as \EFI\BOOT\BOOTX64.EFI, and, for machines
// with BIOS firmware, a boot loader that somebody else writes (BIOSLoader).
//
// It guarantees that a file depends on nothing but the UKI's bytes and the
// Options, identifiers included, that it appears complete under its name or
// not at all, and needs no rights and no tools for it.
//
// It does not look into the UKI beyond its first headers, sign anything, or
// make a VM: that is the platforms' drivers'.
package export
