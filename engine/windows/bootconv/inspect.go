package bootconv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Paths that the conversion reads, on C: unless said otherwise.
const (
	pathBCD      = `\Boot\BCD` // on the system partition
	pathSystem   = `\Windows\System32\config\SYSTEM`
	pathSoftware = `\Windows\System32\config\SOFTWARE`
	pathReAgent  = `\Windows\System32\Recovery\ReAgent.xml`
	pathBootEFI  = `\Windows\Boot\EFI`
	pathBootMgr  = pathBootEFI + `\bootmgfw.efi`
	pathWinload  = `\Windows\System32\winload.efi`
	pathKernel   = `\Windows\System32\ntoskrnl.exe`
	pathWinRE    = `\Recovery\WindowsRE\Winre.wim` // on any partition
)

// typeDynamic is the MBR type of the partitions of a dynamic disk.
const typeDynamic = 0x42

// oldestBuild is the first Windows 10: what UEFI boot files are taken from,
// and the oldest that any source says converts well.
const oldestBuild = 10240

// Image is a disk that can be converted, as Inspect found it.
type Image struct {
	disk    disk.Disk
	mbr     gpt.MBR
	volumes []*volume // in the order of the partition table, without containers
	system  *volume   // active, holds the boot manager and its store
	windows *volume
	// Windows tells what is installed on C:.
	Windows Windows

	store      []byte     // the BCD, its logs replayed
	systemOld  []byte     // SYSTEM as it is on the disk
	systemHive []byte     // SYSTEM, its logs replayed
	systemFile *ntfs.File // SYSTEM, for where it lies
	reagent    []byte     // ReAgent.xml; nil if there is none to convert
	boot       []bootFile // what the EFI system partition gets besides the BCD
	boot2023   []bootFile // what replaces some of them for job.BootManager2023
	warnings   []string
}

// warn notes what does not stop the conversion.
func (im *Image) warn(format string, args ...any) {
	im.warnings = append(im.warnings, fmt.Sprintf(format, args...))
}

// Inspect reads what the conversion needs to know of the disk, or refuses it.
func Inspect(d disk.Disk) (*Image, error) {
	im := &Image{disk: d}
	for _, step := range []func() error{
		im.readPartitions, im.findWindows, im.checkVolumes,
		im.readStore, im.readHives, im.readReAgent, im.checkBootFiles,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return im, nil
}

// modified is the time that everything gets which the conversion makes: that
// of the last change of SYSTEM, in FAT's resolution.
func (im *Image) modified() time.Time {
	return im.systemFile.ModTime().UTC().Truncate(2 * time.Second)
}

// readPartitions reads the MBR and opens the file systems.
func (im *Image) readPartitions() error {
	var err error
	im.mbr, err = gpt.ReadMBR(im.disk)
	switch {
	case errors.Is(err, gpt.ErrProtective):
		return job.Errorf(job.AlreadyGPT, "Nothing is to be converted", "the disk is partitioned by GPT already: %w", err)
	case errors.Is(err, gpt.ErrNoMBR):
		return job.Errorf(job.NoMBR, "Check that this is the vDisk of a Windows that boots by BIOS", "the disk has no partition table: %w", err)
	case errors.Is(err, gpt.ErrBadTable):
		return job.Errorf(job.BadPartitionTable, "Repair the partition table in a maintenance version", "%w", err)
	case err != nil:
		return fmt.Errorf("partition table: %w", err)
	}
	for _, p := range im.mbr.Partitions {
		if p.Type == typeDynamic {
			return job.Errorf(job.DynamicDisk, "Convert the disk to a basic disk first", "partition %d belongs to a dynamic disk (type 0x42)", p.Index+1)
		}
	}
	for _, p := range im.mbr.Partitions {
		if p.Extended() {
			continue // what it holds becomes partitions of their own
		}
		v, err := openVolume(im.disk, p)
		if err != nil {
			return err
		}
		if v.Kind == ntfs.BitLocker {
			return job.Errorf(job.BitLocker, "Decrypt it completely (manage-bde -off) in a maintenance version; to suspend is not enough", "%s is encrypted with BitLocker", v)
		}
		im.volumes = append(im.volumes, v)
	}
	return nil
}

// findWindows tells which partition is the system partition and which is C:.
func (im *Image) findWindows() error {
	var found []string
	var unreadable error
	for _, v := range im.volumes {
		if v.Active {
			if im.system != nil {
				return job.Errorf(job.MultipleActive, "Leave only the system partition active (diskpart: inactive)", "partitions %d and %d are both active", im.system.Index+1, v.Index+1)
			}
			im.system = v
		}
		if v.HasWindows {
			im.windows = v
			found = append(found, v.String())
		}
		if v.Err != nil && unreadable == nil {
			unreadable = v.Err
		}
	}
	switch {
	case im.system == nil:
		return job.Errorf(job.NoActivePartition, "Mark the system partition active (diskpart: active)", "no partition is active, so this disk does not boot by BIOS")
	case im.system.Err != nil:
		return im.system.Err
	case len(found) == 0 && unreadable != nil:
		return unreadable
	case len(found) == 0:
		return job.Errorf(job.NoWindows, "Check that this is the right vDisk", "no partition holds %s", pathSystem)
	case len(found) > 1:
		return job.Errorf(job.MultipleWindows, "Remove the installation that is not used", "Windows is on %s", strings.Join(found, " and "))
	case im.system.NTFS == nil:
		return job.Errorf(job.UnsupportedLayout, "Make the system partition anew as NTFS (bcdboot C:\\Windows /f BIOS)", "the system partition, %s, does not hold NTFS but %s", im.system, im.system.Kind)
	}
	return nil
}

// checkVolumes refuses file systems that Windows has not finished with. Those
// that the conversion does not touch may be as they are.
func (im *Image) checkVolumes() error {
	for _, v := range im.volumes {
		err := v.Err
		if err == nil && v.NTFS != nil {
			err = v.Settled()
		}
		if err == nil {
			continue
		}
		if v == im.system || v == im.windows {
			return volumeError(v, err)
		}
		im.warn("%s is kept as it is: %s", v, volumeError(v, err))
	}
	return nil
}

// readStore reads the BCD of the BIOS boot manager.
func (im *Image) readStore() error {
	_, store, replayed, err := im.system.readHive(pathBCD)
	if errors.Is(err, ntfs.ErrNotFound) {
		return job.Errorf(job.NoBCD, repairBCD, "the system partition, %s, has no %s", im.system, pathBCD)
	}
	if err != nil {
		return err
	}
	im.store = store
	if replayed != "" {
		im.warn("%s on %s: %s", pathBCD, im.system, replayed)
	}
	summary, err := bcd.Inspect(store)
	if err != nil {
		return storeError(im.system, err)
	}
	if at := summary.DefaultDevice; summary.DefaultKind == bcd.KindPartition && at.Style == bcd.StyleMBR && at.Signature == im.mbr.Signature && at.Offset != uint64(im.windows.offset()) {
		return job.Errorf(job.BCDCorrupt, "Set it with bcdedit /set {default} osdevice partition=C: in a maintenance version", "the default entry of %s on %s starts Windows from the partition at byte %d, but Windows is on %s", pathBCD, im.system, at.Offset, im.windows)
	}
	if summary.IsUEFI {
		return job.Errorf(job.BCDCorrupt, repairBCD, "%s on %s is a store for UEFI on an MBR disk", pathBCD, im.system)
	}
	return nil
}

// readHives reads SYSTEM, and what the hives tell of the Windows.
func (im *Image) readHives() error {
	var replayed string
	var err error
	im.systemOld, im.systemHive, replayed, err = im.windows.readHive(pathSystem)
	if err != nil {
		return missing(im.windows, err)
	}
	if replayed != "" {
		im.warn("%s: %s", pathSystem, replayed)
	}
	if im.systemFile, err = im.windows.NTFS.Open(pathSystem); err != nil {
		return volumeError(im.windows, err)
	}
	if im.Windows, err = im.windows.readWindows(); err != nil {
		return err
	}
	if im.Windows.Build < oldestBuild {
		return job.Errorf(job.OSTooOld, "Upgrade it to Windows 10, Windows Server 2016 or later", "%s is build %d, older than %d", im.Windows.Product, im.Windows.Build, oldestBuild)
	}
	return nil
}

// readReAgent reads the configuration of Windows RE.
func (im *Image) readReAgent() error {
	b, err := im.windows.readFile(pathReAgent)
	if errors.Is(err, ntfs.ErrNotFound) {
		return nil
	}
	if err != nil && (errors.Is(err, ntfs.ErrCorrupt) || errors.Is(err, ntfs.ErrUnsupported)) {
		im.warn("%s is kept as it is: %s", pathReAgent, err)
		return nil
	}
	im.reagent = b
	return err
}

// byStart gives the volumes in the order in which they lie on the disk.
func (im *Image) byStart() []*volume {
	return slices.SortedFunc(slices.Values(im.volumes), func(a, b *volume) int {
		if a.FirstLBA < b.FirstLBA {
			return -1
		}
		return 1
	})
}
