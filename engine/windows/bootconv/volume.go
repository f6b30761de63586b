package bootconv

import (
	"errors"
	"fmt"
	"strings"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// hiveLimit bounds the registry hives that are read into memory, and
// fileLimit the other files that are read whole.
const (
	hiveLimit = 512 << 20
	fileLimit = 1 << 20
)

// volume is a partition with what it holds.
type volume struct {
	gpt.Partition // of a GPT disk: number and place only
	sectorSize    int
	*offline.Volume
	hasWinRE bool
}

// openVolume looks at a partition. Its errors are those of the disk.
func openVolume(d disk.Disk, p gpt.Partition) (*volume, error) {
	v := &volume{Partition: p, sectorSize: d.SectorSize()}
	var err error
	v.Volume, err = offline.Look(d, offline.Partition{Number: p.Index + 1, Offset: v.offset(), Size: v.size()})
	if err != nil || v.NTFS == nil {
		return v, err
	}
	if v.hasWinRE, err = v.exists(pathWinRE); offline.OfNTFS(err) {
		v.NTFS, v.Err, err = nil, v.Fault(err), nil
	}
	return v, err
}

// offset is where the volume begins on the disk, in bytes.
func (v *volume) offset() int64 { return int64(v.FirstLBA) * int64(v.sectorSize) }

// size is that of the partition, in bytes.
func (v *volume) size() int64 { return int64(v.Sectors) * int64(v.sectorSize) }

// end is the first sector behind the partition.
func (v *volume) end() uint64 { return v.FirstLBA + v.Sectors }

func (v *volume) String() string { return fmt.Sprintf("partition %d", v.Index+1) }

func (v *volume) exists(path string) (bool, error) {
	_, err := v.NTFS.Stat(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// readFile reads a small file whole.
func (v *volume) readFile(path string) ([]byte, error) { return v.read(path, fileLimit) }

func (v *volume) read(path string, limit int64) ([]byte, error) {
	f, err := v.NTFS.Open(path)
	if err != nil {
		return nil, err
	}
	return f.ReadAll(limit)
}

// readHive reads a registry hive: as it is on the disk, and as it is once
// the transaction logs beside it are replayed. Where that changed anything,
// replayed says what.
func (v *volume) readHive(path string) (stored, recovered []byte, replayed string, err error) {
	h, err := v.OpenHive(path)
	if e, ok := errors.AsType[*job.Error](err); ok && e.Code == job.HiveCorrupt && path == pathBCD {
		return nil, nil, "", job.Errorf(job.BCDCorrupt, repairBCD, "%s", e.Message)
	}
	if err != nil {
		return nil, nil, "", volumeFault(v, err)
	}
	if h.Entries > 0 {
		replayed = fmt.Sprintf("it was not written completely, and is used as %d entries of its log complete it", h.Entries)
	}
	return h.Stored, h.Bytes(), replayed, nil
}

// parseHive parses a hive to be read only: as it is on the disk or, where it
// was written so incompletely that this fails, as its logs complete it.
func (v *volume) parseHive(path string) (*hive.Hive, error) {
	b, err := v.read(path, hiveLimit)
	if err != nil {
		return nil, volumeFault(v, err)
	}
	if h, err := hive.Parse(b); err == nil {
		return h, nil
	}
	h, err := v.OpenHive(path)
	if err != nil {
		return nil, volumeFault(v, err)
	}
	return h.Hive, nil
}

// Windows describes an installation.
type Windows struct {
	Product string `json:"product"`
	Edition string `json:"edition"`
	Version string `json:"version,omitempty"` // such as 22H2
	Build   int    `json:"build"`
	// PVSTarget is the version of the PVS target device software, if it is
	// installed.
	PVSTarget string `json:"pvsTarget,omitempty"`
}

// readWindows reads what SOFTWARE tells of the Windows on the volume. A hive
// that was not written completely tells it as well.
func (v *volume) readWindows() (Windows, error) {
	h, err := v.parseHive(pathSoftware)
	if err != nil {
		return Windows{}, missing(v, err)
	}
	r, err := (&offline.Hive{Hive: h}).Release()
	if err != nil {
		return Windows{}, hiveError(pathSoftware, err)
	}
	if r.Build == 0 {
		return Windows{}, job.Errorf(job.HiveCorrupt, "Check the image in a maintenance version", "%s: CurrentBuild is %q, not a number", pathSoftware, r.CurrentBuild)
	}
	return Windows{Product: r.Product, Edition: r.Edition, Version: r.Version, Build: r.Build, PVSTarget: pvsTarget(h)}, nil
}

// pvsTarget finds the version of the PVS target device software among the
// installed programs.
func pvsTarget(h *hive.Hive) string {
	uninstall := []string{"Microsoft", "Windows", "CurrentVersion", "Uninstall"}
	programs, err := h.SubkeyNames(uninstall...)
	if err != nil {
		return "" // not worth a refusal
	}
	for _, program := range programs {
		k, err := h.Lookup(append(uninstall, program)...)
		if err != nil {
			continue
		}
		name, _ := k.Value("DisplayName")
		if n := name.String(); strings.HasPrefix(n, "Citrix Provisioning Target Device") || strings.HasPrefix(n, "Citrix Provisioning Services Target Device") {
			version, _ := k.Value("DisplayVersion")
			return version.String()
		}
	}
	return ""
}

// volumeFault is volumeError, but leaves a missing file what it is.
func volumeFault(v *volume, err error) error {
	if errors.Is(err, ntfs.ErrNotFound) {
		return err
	}
	return volumeError(v, err)
}

// missing gives a file that is not there, but has to be, its code.
func missing(v *volume, err error) error {
	if errors.Is(err, ntfs.ErrNotFound) {
		return job.Errorf(job.MissingBootFile, "Check that this is the vDisk of a complete Windows", "%s: %w", v, err)
	}
	return err
}

// volumeError gives an error of package ntfs its code. Errors of the disk
// below, such as a lost connection, stay as they are.
func volumeError(v *volume, err error) error {
	switch {
	case job.CodeOf(err) != "":
		return err
	case errors.Is(err, ntfs.ErrNotFound):
		return missing(v, err)
	}
	return v.Fault(err)
}

func hiveError(path string, err error) error {
	return job.Errorf(job.HiveCorrupt, "Check the image in a maintenance version", "%s: %w", path, err)
}

// repairBCD is the remedy of a store that is not as it should be.
const repairBCD = "Repair it with bcdboot C:\\Windows /f BIOS in a maintenance version"

// storeError gives an error of package bcd its code.
func storeError(v *volume, err error) error {
	code, remedy := job.BCDCorrupt, repairBCD
	switch {
	case errors.Is(err, bcd.ErrNoDefaultEntry):
		code, remedy = job.NoDefaultEntry, "Set it with bcdedit /default in a maintenance version"
	case errors.Is(err, bcd.ErrFileOnESP): // System Reserved cannot be given away
		code, remedy = job.NoSpaceForESP, roomForESP
	case errors.Is(err, bcd.ErrDefaultOnOtherDisk):
		code, remedy = job.DefaultOnOtherDisk, "Set the default to the Windows on this disk with bcdedit /default"
	}
	return job.Errorf(code, remedy, "%s on %s: %w", pathBCD, v, err)
}
