package winimage

import (
	"errors"
	"fmt"
)

// ErrSpec says that a disk cannot be as it was described.
var ErrSpec = errors.New("winimage: impossible disk")

// BootFiles is how large the boot files are.
type BootFiles string

const (
	// RealBootFiles has the sizes of Windows 10's: about 28 MB on the ESP.
	RealBootFiles BootFiles = "real"
	// SmallBootFiles has the same files with 2 MB in total, for quick tests.
	SmallBootFiles BootFiles = "small"
)

// Spec describes a disk. The zero value of everything but SizeBytes is what an
// ordinary disk has.
type Spec struct {
	SizeBytes int64  // of the disk, whole MiB
	Signature uint32 // of the MBR; 0 is DefaultSignature
	Seed      uint64 // of the noise in files

	// Partitions, in this order. C: takes what the others leave.
	SystemReservedMiB   int  // 0: none, C: is the active partition
	FreeAfterWindowsMiB int  // unallocated, between C: and Recovery
	RecoveryMiB         int  // 0: none
	FreeAtEndMiB        int  // unallocated; 0 is the 1 MiB that Windows leaves
	ToLastSector        bool // not even that: the last partition ends with the disk

	// Windows.
	BootFiles     BootFiles // empty is RealBootFiles
	UserDataMiB   int       // noise in C:\Users
	Build         string    // empty is "19045"
	WinREInSystem bool      // Windows RE is in System Reserved; else in Recovery or, without one, on C:
	LegacyLoader  bool      // the boot menu also has an ntldr entry

	// What a converter has to refuse.
	AlreadyGPT      bool // the MBR was converted with sgdisk, and nothing else was
	DynamicDisk     bool // partitions of type 0x42
	Extended        bool // an extended partition, of 64 MiB, after C:
	NoActive        bool // no partition is active
	MultipleActive  bool // every partition is active
	NoBCD           bool // \Boot\BCD is missing
	BitLocker       bool // C: has BitLocker's boot sector
	Hibernated      bool // C:\hiberfil.sys is in use
	DirtyNTFS       bool // C: is marked for chkdsk
	DirtySystemHive bool // SYSTEM needs its transaction logs, which are missing
	NoEFIFiles      bool // \Windows\Boot\EFI and winload.efi are missing
	Windows32Bit    bool // winload.exe and ntoskrnl.exe are x86 programs
	WOFBootFile     bool // bootmgfw.efi is compressed by CompactOS
}

// DefaultSignature is the disk signature in the MBR.
const DefaultSignature = 0x7a11c0de

// Default is a disk as Windows Setup makes it, with boot files of real size.
func Default() Spec {
	return Spec{SizeBytes: 4 << 30, SystemReservedMiB: 500, RecoveryMiB: 500, UserDataMiB: 32}
}

// Small is a quick one: the same partitions with little in them.
func Small() Spec {
	return Spec{SizeBytes: 1536 << 20, SystemReservedMiB: 120, RecoveryMiB: 40, BootFiles: SmallBootFiles, UserDataMiB: 1}
}

// withDefaults puts in what a zero value stands for.
func (s Spec) withDefaults() Spec {
	if s.Signature == 0 {
		s.Signature = DefaultSignature
	}
	if s.BootFiles == "" {
		s.BootFiles = RealBootFiles
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
	switch {
	case s.SizeBytes <= 0 || s.SizeBytes%(1<<20) != 0:
		return fmt.Errorf("%w: size of %d bytes is not whole MiB", ErrSpec, s.SizeBytes)
	case s.SizeBytes > 1<<40:
		return fmt.Errorf("%w: size of %d bytes is beyond 1 TiB", ErrSpec, s.SizeBytes)
	case min(s.SystemReservedMiB, s.FreeAfterWindowsMiB, s.RecoveryMiB, s.FreeAtEndMiB, s.UserDataMiB) < 0:
		return fmt.Errorf("%w: negative size", ErrSpec)
	case s.ToLastSector && s.FreeAtEndMiB > 0:
		return fmt.Errorf("%w: free space after the last sector", ErrSpec)
	case s.WinREInSystem && s.SystemReservedMiB == 0:
		return fmt.Errorf("%w: Windows RE in a partition that does not exist", ErrSpec)
	case s.AlreadyGPT && (s.ToLastSector || s.Extended || s.DynamicDisk):
		return fmt.Errorf("%w: no GPT can be made of it", ErrSpec)
	case s.BootFiles != RealBootFiles && s.BootFiles != SmallBootFiles:
		return fmt.Errorf("%w: boot files of size %q", ErrSpec, s.BootFiles)
	}
	return nil
}
