package nativeboot

import (
	"errors"
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// hiveLimit bounds the registry hives that are read into memory: ten times a
// large one.
const hiveLimit = 256 << 20

// What is read of a Windows.
const (
	pathSystem   = `\Windows\System32\config\SYSTEM`
	pathSoftware = `\Windows\System32\config\SOFTWARE`
)

// The remedies of what only Windows can put right.
const (
	shutDown   = "Boot it once in a maintenance version and shut it down"
	checkDisk  = "Run chkdsk /f on it in a maintenance version"
	checkImage = "Check the image in a maintenance version"
)

// volume is what a partition holds.
type volume struct {
	number       int   // of the partition, from 1
	offset, size int64 // on the disk, in bytes
	kind         ntfs.Kind
	ntfs         *ntfs.Volume // nil if there is none that can be read
	err          error        // why its NTFS cannot be read
	hasWindows   bool
}

func (v *volume) String() string { return fmt.Sprintf("partition %d", v.number) }

// look finds out what is on the volume. Its errors are those of the disk.
func (v *volume) look(d disk.Disk) error {
	section := disk.Section(d, v.offset, v.size)
	sector := make([]byte, 512)
	if _, err := section.ReadAt(sector, 0); err != nil {
		return fmt.Errorf("boot sector of %s: %w", v, err)
	}
	if v.kind = ntfs.Probe(sector); v.kind != ntfs.NTFS {
		return nil
	}
	opened, err := ntfs.Open(section, v.size)
	if err == nil {
		_, err = opened.Stat(pathSystem)
	}
	switch {
	case err == nil:
		v.ntfs, v.hasWindows = opened, true
	case errors.Is(err, ntfs.ErrNotFound):
		v.ntfs = opened
	case ofNTFS(err):
		v.err = volumeError(v, err)
	default:
		return fmt.Errorf("%s: %w", v, err)
	}
	return nil
}

// settled is nil if Windows has finished with the volume: what is in its files
// is all there is, and may be changed.
func (v *volume) settled() error {
	hibernated, err := v.ntfs.Hibernated()
	if err != nil {
		return volumeError(v, err)
	}
	clean, err := v.ntfs.LogFileClean()
	if err != nil {
		return volumeError(v, err)
	}
	switch {
	case hibernated:
		return job.Errorf(job.Hibernated, "Run powercfg /h off in a maintenance version and shut Windows down", "Windows is hibernated on %s (or shut down with fast startup)", v)
	case v.ntfs.State().Dirty:
		return job.Errorf(job.NTFSDirty, checkDisk, "the NTFS on %s is marked dirty", v)
	case !clean:
		return job.Errorf(job.NTFSDirty, shutDown, "the NTFS on %s was not dismounted: its journal holds changes", v)
	}
	return nil
}

// hiveFile is a registry hive on a volume.
type hiveFile struct {
	file   *ntfs.File
	stored []byte
	// hive is what Windows would see: the stored one, completed with entries of
	// its transaction logs where it was not written to the end.
	hive    *hive.Hive
	entries int
}

// open reads a registry hive. The error is a job.Error, one of the disk, or
// ntfs.ErrNotFound.
func (v *volume) open(path string) (hiveFile, error) {
	var f hiveFile
	var err error
	if f.file, f.stored, err = v.read(path); err != nil {
		return f, err
	}
	h, err := hive.Parse(f.stored)
	if err == nil && !h.Dirty() {
		f.hive = h
		return f, nil
	}
	var logs [][]byte
	for _, suffix := range []string{".LOG1", ".LOG2", ".LOG"} {
		_, log, err := v.read(path + suffix)
		if err != nil && !errors.Is(err, ntfs.ErrNotFound) {
			return f, err
		}
		logs = append(logs, log)
	}
	r, replayErr := hive.Replay(f.stored, logs...)
	switch {
	case replayErr == nil && r.Replayed:
		for _, l := range r.Logs {
			f.entries += l.Entries
		}
		if f.hive, err = hive.Parse(r.Hive); err != nil {
			return f, v.hiveError(path, err)
		}
		return f, nil
	case err != nil && !errors.Is(err, hive.ErrDirty): // it is not merely incomplete
		return f, v.hiveError(path, err)
	case replayErr == nil:
		return f, v.hiveError(path, errors.New("it is neither complete nor dirty"))
	}
	return f, job.Errorf(job.HiveDirty, shutDown, "%s on %s holds changes that are only in its log, which cannot be used: %w", path, v, replayErr)
}

func (v *volume) read(path string) (*ntfs.File, []byte, error) {
	f, err := v.ntfs.Open(path)
	if err != nil {
		return nil, nil, volumeError(v, err)
	}
	b, err := f.ReadAll(hiveLimit)
	if err != nil {
		return nil, nil, volumeError(v, err)
	}
	return f, b, nil
}

// ofNTFS reports whether an error is the volume's own, and not of the disk
// below it.
func ofNTFS(err error) bool {
	return errors.Is(err, ntfs.ErrCorrupt) || errors.Is(err, ntfs.ErrNotNTFS) || errors.Is(err, ntfs.ErrUnsupported)
}

// volumeError gives an error of package ntfs its code. A missing file stays
// what it is, and so do errors of the disk.
func volumeError(v *volume, err error) error {
	if ofNTFS(err) {
		return job.Errorf(job.NTFSCorrupt, checkDisk, "the NTFS on %s: %w", v, err)
	}
	return fmt.Errorf("%s: %w", v, err)
}

func (v *volume) hiveError(path string, err error) error {
	return job.Errorf(job.HiveCorrupt, checkImage, "%s on %s: %w", path, v, err)
}
