// Package oracle builds the boot oracle: two EFI programs that stand in for
// Windows' bootmgfw.efi and winload.efi, so that a converted disk can be
// booted by real firmware without a licensed Windows on it.
//
// The boot manager goes the way of the real one, from the firmware over the
// BCD store and the GPT to winload.efi and the drive letters, and looks whether
// Windows RE would be found too. It prints a line for each step to the serial
// port (efi/report.h has the format) before it powers the machine off. It
// guarantees that whatever it finds on the disk ends in a verdict: malformed
// data fails a check, and is never read past its end. It does not prove that
// Windows boots: it knows what is publicly known of the formats, follows only
// partitions, devices to be located and RAM disks, and only plain NTFS files,
// and replays no transaction logs: a hive that needs them fails.
//
// For disks that a BIOS starts there is boot code that goes from the master boot
// record to the boot sector of the active partition, and no further.
package oracle
