package bootconv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Paths that the conversion reads, on C: unless said otherwise.
const (
	pathBCD      = `\Boot\BCD` // on the system partition
	pathSystem   = `\Windows\System32\config\SYSTEM`
	pathSoftware = `\Windows\System32\config\SOFTWARE`
	pathBootEFI  = `\Windows\Boot\EFI`
	pathBootMgr  = pathBootEFI + `\bootmgfw.efi`
	pathWinload  = `\Windows\System32\winload.efi`
	pathKernel   = `\Windows\System32\ntoskrnl.exe`
	pathWinRE    = `\Recovery\WindowsRE\Winre.wim` // on any partition
)

// Partition types of the MBR that the conversion knows.
const (
	typeNTFS     = 0x07
	typeRecovery = 0x27
	typeDynamic  = 0x42
)

// oldestBuild is the first Windows 10: what UEFI boot files are taken from,
// and the oldest that any source says converts well.
const oldestBuild = 10240

// hiveLimit bounds the registry hives that are read into memory.
const hiveLimit = 512 << 20

// Windows describes the Windows on the disk.
type Windows struct {
	Product string `json:"product"`
	Edition string `json:"edition"`
	Build   int    `json:"build"`
}

// volume is a partition of the MBR with the NTFS on it.
type volume struct {
	gpt.Partition
	ntfs     *ntfs.Volume
	hasWinRE bool
}

// offset is where the volume begins on the disk, in bytes.
func (v *volume) offset(sectorSize int) int64 { return int64(v.FirstLBA) * int64(sectorSize) }

func (v *volume) String() string { return fmt.Sprintf("partition %d", v.Index+1) }

// Image is a disk that can be converted, as Inspect found it.
type Image struct {
	disk    disk.Disk
	mbr     gpt.MBR
	volumes []*volume // in the order of the partition table
	system  *volume   // active, holds the boot manager and its store
	windows *volume
	// Windows tells what is installed on C:.
	Windows Windows

	store      []byte     // the BCD
	systemHive []byte     // SYSTEM
	boot       []bootFile // what the EFI system partition gets besides the BCD
	systemFile *ntfs.File // SYSTEM, for where it lies
}

// Inspect reads what the conversion needs to know of the disk, or refuses it.
func Inspect(d disk.Disk) (*Image, error) {
	if d.SectorSize() != 512 {
		return nil, job.Errorf(job.UnsupportedDisk, "Disks of 512-byte logical sectors can be converted", "the disk has logical sectors of %d bytes, which is not supported yet", d.SectorSize())
	}
	im := &Image{disk: d}
	if err := im.readPartitions(); err != nil {
		return nil, err
	}
	if err := im.findWindows(); err != nil {
		return nil, err
	}
	if err := im.checkLayout(); err != nil {
		return nil, err
	}
	if err := im.checkVolumes(); err != nil {
		return nil, err
	}
	for _, read := range []func() error{im.readStore, im.readHives, im.checkBootFiles} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return im, nil
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
		switch p.Type {
		case 0x05, 0x0f, 0x85:
			return job.Errorf(job.ExtendedPartition, "Move its contents to primary partitions", "partition %d is an extended partition (type %#02x)", p.Index+1, p.Type)
		case typeDynamic:
			return job.Errorf(job.DynamicDisk, "Convert the disk to a basic disk first", "partition %d belongs to a dynamic disk (type 0x42)", p.Index+1)
		}
	}
	for _, p := range im.mbr.Partitions {
		v := &volume{Partition: p}
		size := int64(p.Sectors) * int64(im.disk.SectorSize())
		section := disk.Section(im.disk, v.offset(im.disk.SectorSize()), size)
		sector := make([]byte, 512)
		if _, err := section.ReadAt(sector, 0); err != nil {
			return fmt.Errorf("boot sector of %s: %w", v, err)
		}
		switch ntfs.Probe(sector) {
		case ntfs.BitLocker:
			return job.Errorf(job.BitLocker, "Decrypt it completely (manage-bde -off) in a maintenance version; to suspend is not enough", "%s is encrypted with BitLocker", v)
		case ntfs.NTFS:
			if v.ntfs, err = ntfs.Open(section, size); err != nil {
				return volumeError(v, err)
			}
			if v.hasWinRE, err = exists(v.ntfs, pathWinRE); err != nil {
				return volumeError(v, err)
			}
		}
		im.volumes = append(im.volumes, v)
	}
	return nil
}

// findWindows tells which partition is the system partition and which is C:.
func (im *Image) findWindows() error {
	var found []string
	for _, v := range im.volumes {
		if v.Active {
			if im.system != nil {
				return job.Errorf(job.MultipleActive, "Leave only the system partition active (diskpart: inactive)", "partitions %d and %d are both active", im.system.Index+1, v.Index+1)
			}
			im.system = v
		}
		if v.ntfs == nil {
			continue
		}
		has, err := exists(v.ntfs, pathSystem)
		if err != nil {
			return volumeError(v, err)
		}
		if has {
			im.windows = v
			found = append(found, v.String())
		}
	}
	switch {
	case im.system == nil:
		return job.Errorf(job.NoActivePartition, "Mark the system partition active (diskpart: active)", "no partition is active, so this disk does not boot by BIOS")
	case len(found) == 0:
		return job.Errorf(job.NoWindows, "Check that this is the right vDisk", "no partition holds %s", pathSystem)
	case len(found) > 1:
		return job.Errorf(job.MultipleWindows, "Remove the installation that is not used", "Windows is on %s", strings.Join(found, " and "))
	}
	return nil
}

// checkLayout admits the one layout that is supported.
func (im *Image) checkLayout() error {
	if im.system == im.windows {
		return job.Errorf(job.NoSystemReserved, "Only disks with a System Reserved partition are supported yet", "%s is both the system partition and C:", im.system)
	}
	var recovery int
	for _, v := range im.volumes {
		switch {
		case v.Type == typeRecovery && v != im.system && v != im.windows:
			recovery++
		case v == im.system && v.Type == typeNTFS, v == im.windows && v.Type == typeNTFS:
		case v.Type != typeNTFS && v.Type != typeRecovery:
			return job.Errorf(job.UnknownPartitionType, "Remove the partition, or wait for a release that has a type map", "%s has the type %#02x, for which no GPT type is known", v, v.Type)
		default:
			return job.Errorf(job.UnsupportedLayout, "Only System Reserved, C: and Recovery are supported yet", "%s, of type %#02x, has no place in that layout", v, v.Type)
		}
	}
	switch {
	case im.system.ntfs == nil:
		return job.Errorf(job.UnsupportedLayout, "Only an NTFS system partition is supported yet", "the system partition, %s, does not hold NTFS", im.system)
	case recovery != 1 || len(im.volumes) != 3:
		return job.Errorf(job.UnsupportedLayout, "Only System Reserved, C: and Recovery are supported yet", "the disk has %d partitions, %d of them for recovery", len(im.volumes), recovery)
	}
	return nil
}

// checkVolumes refuses file systems that Windows has not finished with.
func (im *Image) checkVolumes() error {
	for _, v := range im.volumes {
		if v.ntfs == nil {
			continue
		}
		hibernated, err := v.ntfs.Hibernated()
		if err != nil {
			return volumeError(v, err)
		}
		if hibernated {
			return job.Errorf(job.Hibernated, "Run powercfg /h off in a maintenance version and shut Windows down", "Windows is hibernated on %s (or shut down with fast startup)", v)
		}
		if v.ntfs.State().Dirty {
			return job.Errorf(job.NTFSDirty, "Run chkdsk /f on it in a maintenance version", "the NTFS on %s is marked dirty", v)
		}
		clean, err := v.ntfs.LogFileClean()
		if err != nil {
			return volumeError(v, err)
		}
		if !clean {
			return job.Errorf(job.NTFSDirty, "Boot it once in a maintenance version and shut it down", "the NTFS on %s was not dismounted: its journal holds changes", v)
		}
	}
	return nil
}

// readStore reads the BCD of the BIOS boot manager.
func (im *Image) readStore() error {
	store, err := readFile(im.system.ntfs, pathBCD)
	if errors.Is(err, ntfs.ErrNotFound) {
		return job.Errorf(job.NoBCD, "Repair it with bcdboot C:\\Windows /f BIOS in a maintenance version", "the system partition, %s, has no %s", im.system, pathBCD)
	}
	if err != nil {
		return volumeError(im.system, err)
	}
	im.store = store
	summary, err := bcd.Inspect(store)
	if err != nil {
		return storeError(im.system, err)
	}
	if at := summary.DefaultDevice; summary.DefaultKind == bcd.KindPartition && at.Style == bcd.StyleMBR && at.Signature == im.mbr.Signature && at.Offset != uint64(im.windows.offset(im.disk.SectorSize())) {
		return job.Errorf(job.BCDCorrupt, "Set it with bcdedit /set {default} osdevice partition=C: in a maintenance version", "the default entry of %s on %s starts Windows from the partition at byte %d, but Windows is on %s", pathBCD, im.system, at.Offset, im.windows)
	}
	if summary.IsUEFI {
		return job.Errorf(job.BCDCorrupt, "Repair it with bcdboot C:\\Windows /f BIOS in a maintenance version", "%s on %s is a store for UEFI on an MBR disk", pathBCD, im.system)
	}
	return nil
}

// readHives reads SYSTEM, and what SOFTWARE tells of the Windows.
func (im *Image) readHives() error {
	system, err := im.readHive(pathSystem)
	if err != nil {
		return err
	}
	if im.systemHive = system.Bytes(); system.Dirty() {
		return hiveError(pathSystem, hive.ErrDirty)
	}
	if im.systemFile, err = im.windows.ntfs.Open(pathSystem); err != nil {
		return volumeError(im.windows, err)
	}
	software, err := im.readHive(pathSoftware)
	if err != nil {
		return err
	}
	key, err := software.Lookup("Microsoft", "Windows NT", "CurrentVersion")
	if err != nil {
		return hiveError(pathSoftware, err)
	}
	text := func(name string) string {
		v, _ := key.Value(name)
		return v.String()
	}
	im.Windows.Product, im.Windows.Edition = text("ProductName"), text("EditionID")
	im.Windows.Build, err = strconv.Atoi(text("CurrentBuild"))
	if err != nil {
		return job.Errorf(job.HiveCorrupt, "Check the image in a maintenance version", "%s: CurrentBuild is %q, not a number", pathSoftware, text("CurrentBuild"))
	}
	if im.Windows.Build < oldestBuild {
		return job.Errorf(job.OSTooOld, "Upgrade it to Windows 10, Windows Server 2016 or later", "%s is build %d, older than %d", im.Windows.Product, im.Windows.Build, oldestBuild)
	}
	return nil
}

func (im *Image) readHive(path string) (*hive.Hive, error) {
	b, err := readFile(im.windows.ntfs, path)
	if err != nil {
		return nil, volumeError(im.windows, err)
	}
	h, err := hive.Parse(b)
	if err != nil {
		return nil, hiveError(path, err)
	}
	return h, nil
}

// checkBootFiles lists the boot files, and makes sure that they and the kernel
// are for x64 and can be read.
func (im *Image) checkBootFiles() error {
	// Only the boot manager is copied, and has to be readable. The others stay
	// where Windows reads them, compressed or not.
	for _, path := range []string{pathBootMgr, pathWinload, pathKernel} {
		if err := im.checkMachine(path, path == pathBootMgr); err != nil {
			return err
		}
	}
	var err error
	im.boot, err = im.listBootFiles()
	return err
}

// checkMachine refuses an executable that is not for x64.
func (im *Image) checkMachine(path string, copied bool) error {
	f, err := im.windows.ntfs.Open(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return job.Errorf(job.MissingBootFile, "Repair Windows (DISM /RestoreHealth) in a maintenance version", "%s has no %s", im.windows, path)
	}
	if err != nil {
		return volumeError(im.windows, err)
	}
	if f.WOF() || f.Encrypted() {
		if copied || f.Encrypted() {
			return compressed(path)
		}
		return nil
	}
	const amd64 = 0x8664
	header := make([]byte, 4096)
	n, err := f.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return volumeError(im.windows, err)
	}
	machine, ok := peMachine(header[:n])
	if !ok {
		return job.Errorf(job.MissingBootFile, "Repair Windows (DISM /RestoreHealth) in a maintenance version", "%s is not an executable", path)
	}
	if machine != amd64 {
		return job.Errorf(job.NotX64, "Only 64-bit Windows (x64) can be converted", "%s is for machine %#04x, not for x64 (%#04x)", path, machine, amd64)
	}
	return nil
}

// peMachine gives the machine field of a PE header.
func peMachine(b []byte) (uint16, bool) {
	if len(b) < 0x40 || string(b[:2]) != "MZ" {
		return 0, false
	}
	at := int64(binary.LittleEndian.Uint32(b[0x3c:]))
	if at+6 > int64(len(b)) || string(b[at:at+4]) != "PE\x00\x00" {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b[at+4:]), true
}

func exists(v *ntfs.Volume, path string) (bool, error) {
	_, err := v.Stat(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// readFile reads a hive whole.
func readFile(v *ntfs.Volume, path string) ([]byte, error) {
	f, err := v.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.Size() > hiveLimit {
		return nil, fmt.Errorf("%s: %d bytes are more than a registry hive has: %w", path, f.Size(), ntfs.ErrCorrupt)
	}
	b := make([]byte, f.Size())
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

func compressed(path string) error {
	return job.Errorf(job.CompressedBootFile, "Run compact /exe /u on it (or compact /compactos:never) in a maintenance version", "%s is compressed or encrypted in a way that is not supported yet", path)
}

// volumeError gives an error of package ntfs its code. Errors of the disk
// below, such as a lost connection, stay as they are.
func volumeError(v *volume, err error) error {
	if errors.Is(err, ntfs.ErrCorrupt) || errors.Is(err, ntfs.ErrNotNTFS) || errors.Is(err, ntfs.ErrUnsupported) {
		return job.Errorf(job.NTFSCorrupt, "Run chkdsk /f on it in a maintenance version", "the NTFS on %s: %w", v, err)
	}
	if errors.Is(err, ntfs.ErrNotFound) {
		return job.Errorf(job.MissingBootFile, "Check that this is the vDisk of a complete Windows", "%s: %w", v, err)
	}
	return fmt.Errorf("%s: %w", v, err)
}

func hiveError(path string, err error) error {
	if errors.Is(err, hive.ErrDirty) {
		return job.Errorf(job.HiveDirty, "Boot it once in a maintenance version and shut it down", "%s holds changes that are only in its log: %w", path, err)
	}
	return job.Errorf(job.HiveCorrupt, "Check the image in a maintenance version", "%s: %w", path, err)
}

// storeError gives an error of package bcd its code.
func storeError(v *volume, err error) error {
	code, remedy := job.BCDCorrupt, "Repair it with bcdboot C:\\Windows /f BIOS in a maintenance version"
	switch {
	case errors.Is(err, bcd.ErrNoDefaultEntry):
		code, remedy = job.NoDefaultEntry, "Set it with bcdedit /default in a maintenance version"
	case errors.Is(err, hive.ErrDirty):
		code, remedy = job.HiveDirty, "Boot it once in a maintenance version and shut it down"
	case errors.Is(err, bcd.ErrFileOnESP): // System Reserved cannot be given away
		code, remedy = job.NoSpaceForESP, roomForESP
	case errors.Is(err, bcd.ErrDefaultOnOtherDisk):
		code, remedy = job.DefaultOnOtherDisk, "Set the default to the Windows on this disk with bcdedit /default"
	}
	return job.Errorf(code, remedy, "%s on %s: %w", pathBCD, v, err)
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
