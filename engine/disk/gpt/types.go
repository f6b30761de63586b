package gpt

import "github.com/google/uuid"

// TypeOf is what becomes of an MBR partition of the type in a GPT: its partition
// type and attributes. Types of which nothing certain is known are not guessed:
// known is false. So it is for extended partitions (0x05, 0x0F, 0x85), which a
// GPT has no use for, dynamic disks (0x42), the EFI system partition of an MBR
// disk (0xEF), of which there must not be two, and a protective entry (0xEE).
//
// Volumes of Windows and recovery partitions become what MBR2GPT makes of them
// (Microsoft, "MBR2GPT.EXE"). For the others it wants to be told (/map):
//
//   - The types that Windows takes for those of manufacturers ([MS-DMRP]
//     appendix B) have no drive letters in an MBR disk. In a GPT disk Windows
//     knows such a partition by AttrRequired: "this attribute must be set for
//     OEM partitions", with a basic data partition for example
//     (PARTITION_INFORMATION_GPT, winioctl.h). Not the type of recovery
//     partitions: Windows would take its tools to be there.
//   - FAT and NTFS that a boot manager or manufacturer hid, by adding 0x10 to
//     the type, are not mounted in an MBR disk, and stay as they were: hidden,
//     without a letter.
func TypeOf(mbrType byte) (typ uuid.UUID, attributes uint64, known bool) {
	switch mbrType {
	case 0x01, 0x04, 0x06, 0x0E, // FAT12, FAT16
		0x0B, 0x0C, // FAT32
		0x07: // NTFS, exFAT
		return TypeBasicData, 0, true
	case 0x11, 0x14, 0x16, 0x1E, 0x1B, 0x1C, 0x17: // the same, hidden
		return TypeBasicData, AttrHidden | AttrNoDriveLetter, true
	case 0x27: // Windows RE
		return TypeRecovery, AttrRequired | AttrNoDriveLetter, true
	case 0x12, // EISA, Compaq diagnostics
		0x84, // hibernation of notebooks
		0xA0, // HP diagnostics
		0xDE, // Dell utilities
		0xFE: // IBM IML
		return TypeBasicData, AttrRequired | AttrNoDriveLetter, true
	}
	return uuid.Nil, 0, false
}
