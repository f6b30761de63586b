package winimage

import "imageport/job"

// Named is a disk that converts.
type Named struct {
	Name string
	Spec Spec
}

// Refusal is a disk that must be refused, with the code of the refusal.
type Refusal struct {
	Name string
	Spec Spec
	Code string
}

// Layouts are the kinds of disks that a converter has to cope with, all small.
// Each makes something else difficult; its name says what.
func Layouts() []Named {
	small := func(name string, change func(s *Spec)) Named {
		s := Small()
		change(&s)
		return Named{name, s}
	}
	return []Named{
		{"ordinary", Small()},
		small("System Reserved of 50 MiB", func(s *Spec) { s.SystemReservedMiB = 50 }),
		small("System Reserved beyond 1 GiB", func(s *Spec) { s.SystemReservedMiB, s.SizeBytes = 1100, 1664*mib }),
		small("one partition to the last sector", func(s *Spec) {
			s.SystemReservedMiB, s.RecoveryMiB, s.ToLastSector = 0, 0, true
			s.Devices = BootDevices
		}),
		small("Windows RE in System Reserved", func(s *Spec) {
			s.SystemReservedMiB, s.RecoveryMiB, s.WinREInSystem = 350, 0, true
		}),
		small("Recovery before C:", func(s *Spec) { s.RecoveryFirst = true }),
		small("gap at the end", func(s *Spec) { s.SystemReservedMiB, s.FreeAtEndMiB = 50, 300 }),
		small("gap behind C:, short ReAgent.xml", func(s *Spec) {
			s.FreeAfterWindowsMiB, s.ReAgentResident = 280, true
		}),
		small("data partition", func(s *Spec) { s.Data = []Data{{Letter: "D", MiB: 64}} }),
		small("OEM partitions", func(s *Spec) {
			s.OEM = []OEM{{Type: 0xde, MiB: 39, Content: FAT}, {Type: 0x12, MiB: 16}}
			s.RecoveryMiB, s.PVSVersion = 0, "7.41.100.62"
		}),
		small("logical partitions", func(s *Spec) {
			s.Data = []Data{{Letter: "D", MiB: 48, Logical: true}, {Letter: "E", MiB: 32, Logical: true}}
			s.RecoveryLogical, s.ToLastSector = true, true
		}),
		small("sectors of 4096 bytes", func(s *Spec) { s.SizeBytes, s.SectorSize, s.SystemReservedMiB = 1024*mib, 4096, 300 }),
		small("sectors of 4096 bytes, one partition", func(s *Spec) {
			s.SizeBytes, s.SectorSize, s.SystemReservedMiB, s.RecoveryMiB, s.ToLastSector = 1024*mib, 4096, 0, 0, true
		}),
		small("many systems in the menu", func(s *Spec) {
			s.Data = []Data{{Letter: "D", MiB: 64}}
			s.LegacyLoader, s.BootSectorEntry, s.SecondLoader, s.ForeignLoader, s.CustomElements = true, true, true, true, true
		}),
		small("generalised Windows", func(s *Spec) { s.Devices = LocateDevices }),
		small("hive with transaction logs", func(s *Spec) { s.DirtySystemHiveWithLogs = true }),
		small("boot files by XPRESS, those of 2023 too", func(s *Spec) { s.WOFBootFiles, s.EFIEX = XPRESS4K, true }),
		small("boot files by LZX", func(s *Spec) { s.WOFBootFiles = LZX }),
		small("scattered data at the end of C:", func(s *Spec) {
			s.SystemReservedMiB, s.RecoveryMiB, s.ToLastSector = 50, 0, true
			s.SizeBytes, s.UserDataMiB, s.Fragmented = 400*mib, 4, true
		}),
	}
}

// Refusals are disks that must be refused, all small: at least one for each
// thing that can be wrong with what is on them.
func Refusals() []Refusal {
	small := func(name string, code job.Code, change func(s *Spec)) Refusal {
		s := Small()
		change(&s)
		return Refusal{name, s, string(code)}
	}
	return []Refusal{
		small("no partition table", job.NoMBR, func(s *Spec) { s.NoMBR = true }),
		small("overlapping partitions", job.BadPartitionTable, func(s *Spec) { s.Overlap = true }),
		small("already GPT", job.AlreadyGPT, func(s *Spec) { s.AlreadyGPT = true }),
		small("dynamic disk", job.DynamicDisk, func(s *Spec) { s.DynamicDisk = true }),
		small("partition of another system", job.UnknownPartitionType, func(s *Spec) {
			s.RecoveryMiB, s.OEM = 0, []OEM{{Type: 0x83, MiB: 16}}
		}),
		small("no active partition", job.NoActivePartition, func(s *Spec) { s.NoActive = true }),
		small("several active partitions", job.MultipleActive, func(s *Spec) { s.MultipleActive = true }),
		small("partition in front", job.NoRoomForGPT, func(s *Spec) { s.NoRoomInFront = true }),
		small("no free space on C:", job.NoSpaceForESP, func(s *Spec) {
			s.SizeBytes, s.SystemReservedMiB, s.WindowsFreeMiB = 512*mib, 50, 40
		}),
		small("no BCD", job.NoBCD, func(s *Spec) { s.NoBCD = true }),
		small("damaged BCD", job.BCDCorrupt, func(s *Spec) { s.CorruptBCD = true }),
		small("no default entry", job.NoDefaultEntry, func(s *Spec) { s.NoDefault = true }),
		small("default entry of another disk", job.DefaultOnOtherDisk, func(s *Spec) { s.DefaultOnForeignDisk = true }),
		small("BitLocker", job.BitLocker, func(s *Spec) { s.BitLocker = true }),
		small("hibernated", job.Hibernated, func(s *Spec) { s.Hibernated = true }),
		small("dirty NTFS", job.NTFSDirty, func(s *Spec) { s.DirtyNTFS = true }),
		small("damaged NTFS", job.NTFSCorrupt, func(s *Spec) { s.CorruptNTFS = true }),
		small("no Windows", job.NoWindows, func(s *Spec) { s.NoWindows = true }),
		small("two Windows", job.MultipleWindows, func(s *Spec) {
			s.Data = []Data{{Letter: "D", MiB: 64, Windows: true}}
			s.SecondLoader = true
		}),
		small("32-bit Windows", job.NotX64, func(s *Spec) { s.Windows32Bit = true }),
		small("old Windows", job.OSTooOld, func(s *Spec) { s.Build = "9600" }),
		small("no EFI files", job.MissingBootFile, func(s *Spec) { s.NoEFIFiles = true }),
		small("boot file that lost its compressed data", job.CompressedBootFile, func(s *Spec) { s.WOFBootFile = true }),
		small("hive without its transaction logs", job.HiveDirty, func(s *Spec) { s.DirtySystemHive = true }),
		small("hive with damaged transaction logs", job.HiveDirty, func(s *Spec) { s.DirtySystemHiveBadLogs = true }),
		small("damaged hive", job.HiveCorrupt, func(s *Spec) { s.CorruptSystemHive = true }),
	}
}
