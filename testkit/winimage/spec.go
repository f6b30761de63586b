package winimage

import (
	"errors"
	"fmt"
	"slices"
)

// ErrSpec says that a disk cannot be as it was described.
var ErrSpec = errors.New("winimage: impossible disk")

// BootFiles is how large the boot files are.
type BootFiles string

const (
	// RealBootFiles has the sizes of Windows 10's: about 28 MB on the ESP.
	RealBootFiles BootFiles = "real"
	// SmallBootFiles has the same files with 3 MB in total, for quick tests.
	SmallBootFiles BootFiles = "small"
)

// WOF is how CompactOS compressed a file: the algorithm and, in its name, the
// size of the chunks.
type WOF string

const (
	XPRESS4K  WOF = "XPRESS4K"
	XPRESS8K  WOF = "XPRESS8K"
	XPRESS16K WOF = "XPRESS16K"
	LZX       WOF = "LZX" // chunks of 32 KiB
)

// Content is what a partition holds.
type Content string

const (
	NTFS Content = "NTFS"
	FAT  Content = "FAT" // FAT16
	Raw  Content = "raw" // nothing that is known: noise
)

// OEM is a partition of a computer's maker, in front of all others.
type OEM struct {
	Type    byte // of the MBR
	MiB     int
	Content Content // empty is Raw
}

// Data is a partition, of NTFS, with a drive letter.
type Data struct {
	Letter  string // "D"
	MiB     int
	Logical bool // in the extended partition
	Windows bool // another Windows is installed on it
}

// Devices is what the boot entries name their partitions by.
type Devices string

const (
	// PartitionDevices are an ordinary Windows': signature and place.
	PartitionDevices Devices = "partition"
	// BootDevices of the boot manager and its tools, and of all else that lies
	// on the same partition, are the partition booted from.
	BootDevices Devices = "boot"
	// LocateDevices, of a generalised Windows, are found by what is on them.
	LocateDevices Devices = "locate"
)

// Spec describes a disk. The zero value of everything but SizeBytes is what an
// ordinary disk has.
type Spec struct {
	SizeBytes  int64  // of the disk, whole MiB
	SectorSize int    // logical, in bytes: 512, also for 0, or 4096
	Signature  uint32 // of the MBR; 0 is DefaultSignature
	Seed       uint64 // of the noise in files

	// Partitions, in this order. C: takes what the others leave.
	OEM                 []OEM
	SystemReservedMiB   int  // 0: none, C: is the active partition
	RecoveryFirst       bool // Recovery lies here, before C:
	FreeAfterWindowsMiB int  // unallocated, behind C:
	Data                []Data
	Extended            bool // the extended partition also has one of 63 MiB without file system
	RecoveryMiB         int  // 0: none
	RecoveryLogical     bool // Recovery is in the extended partition
	FreeAtEndMiB        int  // unallocated; 0 is the 1 MiB that Windows leaves
	ToLastSector        bool // not even that: the last partition ends with the disk

	// Windows.
	BootFiles       BootFiles // empty is RealBootFiles
	EFIEX           bool      // there are boot files signed by the authority of 2023 too
	WOFBootFiles    WOF       // the EFI boot programs are compressed by CompactOS, if not empty
	UserDataMiB     int       // noise in C:\Users
	Fragmented      bool      // that data lies in pieces, much of it at the end of C:
	WindowsFreeMiB  int       // free space that is left on C:; 0: all
	Build           string    // empty is "19045"
	PVSVersion      string    // of the target device software; empty is "7.33.0"
	NoPVS           bool      // without it
	WinREInSystem   bool      // Windows RE is in System Reserved; else in Recovery or, without one, on C:
	ReAgentResident bool      // ReAgent.xml is so short that it fits into its file record

	// Boot configuration.
	Devices         Devices // empty is PartitionDevices
	LegacyLoader    bool    // the boot menu also has an ntldr entry
	BootSectorEntry bool    // ... and one for a boot sector in a file
	SecondLoader    bool    // ... and a Windows on the first data partition
	ForeignLoader   bool    // ... and one on a disk that is not here
	CustomElements  bool    // the entry of Windows has elements that its administrator set

	// The registry was not written to the end: SYSTEM is as it was two changes
	// earlier, and what is in the transaction logs is needed.
	DirtySystemHive         bool // the logs are missing
	DirtySystemHiveWithLogs bool // one change in each log
	DirtySystemHiveBadLogs  bool // the logs are damaged

	// What a converter has to refuse.
	NoMBR                bool // the first sector is empty
	Overlap              bool // the first two partitions overlap by 1 MiB
	NoRoomInFront        bool // there is a partition of type 0x12 from sector 8 on
	AlreadyGPT           bool // the MBR was converted with sgdisk, and nothing else was
	DynamicDisk          bool // partitions of type 0x42
	NoActive             bool // no partition is active
	MultipleActive       bool // every partition is active
	NoBCD                bool // \Boot\BCD is missing
	CorruptBCD           bool // \Boot\BCD is damaged
	NoDefault            bool // no entry is the default
	DefaultOnForeignDisk bool // the default is that of ForeignLoader, which is implied
	BitLocker            bool // C: has BitLocker's boot sector
	Hibernated           bool // C:\hiberfil.sys is in use
	DirtyNTFS            bool // C: is marked for chkdsk
	CorruptNTFS          bool // the MFT of C: has lost its first record
	CorruptSystemHive    bool // SYSTEM is damaged
	NoWindows            bool // there is none on C:
	NoEFIFiles           bool // \Windows\Boot\EFI and winload.efi are missing
	Windows32Bit         bool // winload.exe and ntoskrnl.exe are x86 programs
	WOFBootFile          bool // bootmgfw.efi says that CompactOS compressed it, but its data was lost
}

// DefaultSignature is the disk signature in the MBR.
const DefaultSignature = 0x7a11c0de

// Default is a disk as Windows Setup makes it, with boot files of real size.
func Default() Spec {
	return Spec{SizeBytes: 4 << 30, SystemReservedMiB: 500, RecoveryMiB: 500, UserDataMiB: 32}
}

// Small is a quick one: the same partitions with little in them.
func Small() Spec {
	return Spec{SizeBytes: 640 << 20, SystemReservedMiB: 120, RecoveryMiB: 40, BootFiles: SmallBootFiles, UserDataMiB: 1}
}

// Upgradable is Small with the room on C: that an upgrade of PVS asks for, 1 GiB.
func Upgradable() Spec {
	s := Small()
	s.SizeBytes = 1536 << 20
	return s
}

// withDefaults puts in what a zero value stands for.
func (s Spec) withDefaults() Spec {
	if s.Signature == 0 {
		s.Signature = DefaultSignature
	}
	if s.BootFiles == "" {
		s.BootFiles = RealBootFiles
	}
	if s.SectorSize == 0 {
		s.SectorSize = 512
	}
	if s.Devices == "" {
		s.Devices = PartitionDevices
	}
	if s.PVSVersion == "" {
		s.PVSVersion = "7.33.0"
	}
	if s.DefaultOnForeignDisk {
		s.ForeignLoader = true
	}
	s.OEM = slices.Clone(s.OEM)
	for i := range s.OEM {
		if s.OEM[i].Content == "" {
			s.OEM[i].Content = Raw
		}
	}
	if s.Build == "" {
		s.Build = "19045"
	}
	if s.FreeAtEndMiB == 0 && !s.ToLastSector {
		s.FreeAtEndMiB = 1
	}
	return s
}

func (s Spec) check() error {
	impossible := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrSpec, fmt.Sprintf(format, args...))
	}
	switch {
	case s.SizeBytes <= 0 || s.SizeBytes%(1<<20) != 0:
		return impossible("size of %d bytes is not whole MiB", s.SizeBytes)
	case s.SizeBytes > 2<<40:
		return impossible("size of %d bytes is beyond 2 TiB", s.SizeBytes)
	case s.SectorSize != 512 && s.SectorSize != 4096:
		return impossible("sectors of %d bytes", s.SectorSize)
	case min(s.SystemReservedMiB, s.FreeAfterWindowsMiB, s.RecoveryMiB, s.FreeAtEndMiB, s.UserDataMiB, s.WindowsFreeMiB) < 0:
		return impossible("negative size")
	case s.ToLastSector && s.FreeAtEndMiB > 0:
		return impossible("free space after the last sector")
	case s.WinREInSystem && s.SystemReservedMiB == 0:
		return impossible("Windows RE in a partition that does not exist")
	case (s.RecoveryFirst || s.RecoveryLogical) && s.RecoveryMiB == 0, s.RecoveryFirst && s.RecoveryLogical:
		return impossible("Recovery in no place")
	case s.AlreadyGPT && (s.ToLastSector || s.hasExtended() || s.DynamicDisk || s.NoRoomInFront || s.SectorSize != 512):
		return impossible("no GPT can be made of it")
	case s.SecondLoader && len(s.Data) == 0:
		return impossible("a second Windows without a data partition")
	case s.Fragmented && (s.WindowsFreeMiB > 0 || s.UserDataMiB == 0):
		return impossible("nothing that could lie in pieces")
	case s.BootFiles != RealBootFiles && s.BootFiles != SmallBootFiles:
		return impossible("boot files of size %q", s.BootFiles)
	case s.WOFBootFiles != "" && s.WOFBootFiles.algorithm() == (algorithm{}):
		return impossible("compression %q", s.WOFBootFiles)
	case s.Devices != PartitionDevices && s.Devices != BootDevices && s.Devices != LocateDevices:
		return impossible("devices by %q", s.Devices)
	}
	letters := map[string]bool{}
	for _, d := range s.Data {
		if len(d.Letter) != 1 || d.Letter < "D" || d.Letter > "Z" || d.Letter == foreignLetter || letters[d.Letter] {
			return impossible("drive letter %q", d.Letter)
		}
		if letters[d.Letter] = true; d.MiB < minimumMiB {
			return impossible("%s: is %d MiB", d.Letter, d.MiB)
		}
	}
	for _, o := range s.OEM {
		if o.MiB < minimumMiB || o.Content != NTFS && o.Content != FAT && o.Content != Raw {
			return impossible("partition of type %#02x of %d MiB of %q", o.Type, o.MiB, o.Content)
		}
	}
	return nil
}

// hasExtended tells whether there is an extended partition.
func (s Spec) hasExtended() bool {
	return s.Extended || s.RecoveryLogical || slices.ContainsFunc(s.Data, func(d Data) bool { return d.Logical })
}
