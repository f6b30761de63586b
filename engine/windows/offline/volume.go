package offline

import (
	"errors"
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Hives of a Windows.
const (
	PathSystem   = `\Windows\System32\config\SYSTEM`
	PathSoftware = `\Windows\System32\config\SOFTWARE`
)

// Remedies of what only Windows can put right.
const (
	ShutDown   = "Boot it once in a maintenance version and shut it down"
	CheckDisk  = "Run chkdsk /f on it in a maintenance version"
	CheckImage = "Check the image in a maintenance version"
)

// Volume is what a partition holds.
type Volume struct {
	Partition
	Kind ntfs.Kind
	// NTFS is nil if there is none that can be read.
	NTFS *ntfs.Volume
	// Err is why its NTFS cannot be read: a job.Error.
	Err error
	// HasWindows says that there is a SYSTEM hive.
	HasWindows bool
}

// Look finds out what a partition holds. Its errors are those of the disk.
func Look(d disk.Disk, p Partition) (*Volume, error) {
	v := &Volume{Partition: p}
	section := disk.Section(d, v.Offset, v.Size)
	sector := make([]byte, 512)
	if _, err := section.ReadAt(sector, 0); err != nil {
		return nil, fmt.Errorf("boot sector of %s: %w", v, err)
	}
	if v.Kind = ntfs.Probe(sector); v.Kind != ntfs.NTFS {
		return v, nil
	}
	opened, err := ntfs.Open(section, v.Size)
	if err == nil {
		_, err = opened.Stat(PathSystem)
	}
	switch {
	case err == nil:
		v.NTFS, v.HasWindows = opened, true
	case errors.Is(err, ntfs.ErrNotFound):
		v.NTFS = opened
	case OfNTFS(err):
		v.Err = v.Fault(err)
	default:
		return nil, v.Fault(err)
	}
	return v, nil
}

// Settled is nil if Windows has finished with the volume: what is in its files
// is all there is, and may be changed. Otherwise it is job.Hibernated,
// job.NTFSDirty or job.NTFSCorrupt, or an error of the disk.
func (v *Volume) Settled() error {
	hibernated, err := v.NTFS.Hibernated()
	if err != nil {
		return v.Fault(err)
	}
	if hibernated {
		return job.Errorf(job.Hibernated, "Run powercfg /h off in a maintenance version and shut Windows down", "Windows is hibernated on %s (or shut down with fast startup)", v)
	}
	if v.NTFS.State().Dirty {
		return job.Errorf(job.NTFSDirty, CheckDisk, "the NTFS on %s is marked dirty", v)
	}
	clean, err := v.NTFS.LogFileClean()
	if err != nil {
		return v.Fault(err)
	}
	if !clean {
		return job.Errorf(job.NTFSDirty, ShutDown, "the NTFS on %s was not dismounted: its journal holds changes", v)
	}
	return nil
}

// HasFile reports whether there is a file with something in it.
func (v *Volume) HasFile(path string) (bool, error) {
	e, err := v.NTFS.Stat(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, v.Fault(err)
	}
	return !e.IsDir && e.Size > 0, nil
}

// FreeBytes is the room that $Bitmap says is left on the volume.
func (v *Volume) FreeBytes() (int64, error) {
	free := int64(0)
	for r, err := range v.NTFS.FreeSpace() {
		if err != nil {
			return 0, v.Fault(err)
		}
		free += r.Length
	}
	return free, nil
}

// Fault gives an error of package ntfs about the volume its code. A missing file
// stays what it is, and so do errors of the disk.
func (v *Volume) Fault(err error) error {
	if OfNTFS(err) {
		return job.Errorf(job.NTFSCorrupt, CheckDisk, "the NTFS on %s: %w", v, err)
	}
	return fmt.Errorf("%s: %w", v, err)
}

// OfNTFS reports whether an error is the volume's own, and not of the disk
// below it.
func OfNTFS(err error) bool {
	return errors.Is(err, ntfs.ErrCorrupt) || errors.Is(err, ntfs.ErrNotNTFS) || errors.Is(err, ntfs.ErrUnsupported)
}
