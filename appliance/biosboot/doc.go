// Package biosboot makes a disk with a UKI on its EFI system partition start on
// BIOS machines, too: it has our own boot loader, of which it writes the code of
// the master boot record and a second stage of 2 KiB. The loader takes kernel,
// command line and initrd out of the very file that UEFI firmware starts.
//
// It guarantees that the loader starts exactly these bytes, whose CRC-32 it
// checks, or says on COM1 and the screen why not, and powers the machine off.
// CRC-32 finds damage and mistakes, not attacks: BIOS has no Secure Boot.
//
// It does not write to disks, know file systems, or take disks with sectors of
// other than 512 bytes. The source of the loader is loader/loader.S; its bytes
// are committed, and a test assembles it again.
package biosboot
