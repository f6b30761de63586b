package inject

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"imageport/engine/ntfsmount"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// Disk is the disk that the Windows is on. Reads and writes are concurrent.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything written is durable.
	Sync() error
	// Size in bytes.
	Size() int64
	// DropCache forgets what is kept of the disk in memory: what is read
	// afterwards comes from the disk.
	DropCache() error
}

// Partition is that of the Windows' volume C:.
type Partition struct {
	// Number is for people: from 1, as partition tools count.
	Number int `json:"number"`
	// Offset is where it begins on the disk, in bytes.
	Offset    int64 `json:"offset"`
	SizeBytes int64 `json:"sizeBytes"`
}

func (p Partition) offline() offline.Partition {
	return offline.Partition{Number: p.Number, Offset: p.Offset, Size: p.SizeBytes}
}

// target is the disk with errors that have codes, so that they are told from
// those of the volume on it.
type target struct{ Disk }

func diskError(err error) error {
	switch {
	case err == nil, err == io.EOF, job.CodeOf(err) != "":
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return job.Errorf(job.PlatformFull, "Make room where the platform has the disk", "the working disk: %w", err)
	}
	return job.Errorf(job.PlatformError, "Look at what the platform says of the disk", "the working disk: %w", err)
}

func (t target) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.Disk.ReadAt(p, off)
	return n, diskError(err)
}

func (t target) WriteAt(p []byte, off int64) (int, error) {
	n, err := t.Disk.WriteAt(p, off)
	return n, diskError(err)
}

// settle makes everything written durable, and has it read from the disk from
// then on.
func (t target) settle() error {
	if err := t.Sync(); err != nil {
		return diskError(err)
	}
	return diskError(t.DropCache())
}

// inside refuses a partition that is not on the disk.
func (t target) inside(p Partition) error {
	if p.Offset < 0 || p.SizeBytes <= 0 || p.Offset > t.Size()-p.SizeBytes {
		return job.Errorf(job.Internal, "Report it", "a partition of %d bytes at offset %d is not on a disk of %d bytes", p.SizeBytes, p.Offset, t.Size())
	}
	return nil
}

// mountError gives an error of package ntfsmount, or of work on what it mounts,
// its code. Those that have one stay what they are.
func mountError(p Partition, err error) error {
	where := p.offline()
	switch {
	case job.CodeOf(err) != "":
		return err
	case errors.Is(err, ntfsmount.ErrMissing):
		return job.Errorf(job.ToolMissing, "Install ntfs-3g (package ntfs-3g) where the Compositing Engine runs", "%w", err)
	case errors.Is(err, ntfsmount.ErrHibernated):
		return job.Errorf(job.Hibernated, "Run powercfg /h off in a maintenance version and shut Windows down", "%s: %w", where, err)
	case errors.Is(err, ntfsmount.ErrUnclean), errors.Is(err, ntfsmount.ErrReadOnly):
		return job.Errorf(job.NTFSDirty, offline.ShutDown, "%s: %w", where, err)
	case errors.Is(err, ntfsmount.ErrCorrupt):
		return job.Errorf(job.NTFSCorrupt, offline.CheckDisk, "%s: %w", where, err)
	case ntfsmount.NoSpace(err):
		return job.Errorf(job.WindowsFull, makeRoom, "%s: %w", where, err)
	}
	return job.Errorf(job.ToolFailed, "Start the job again; if it fails again, report it", "ntfs-3g on %s: %w", where, err)
}

// makeRoom is the remedy of a volume that is full.
const makeRoom = "Delete what is not needed on it in a maintenance version, or give the output a larger size and extend the volume"

func verifyFailed(format string, args ...any) error {
	return job.Errorf(job.VerifyFailed, "Start the job again; if it fails again, look at the platform's storage", "read back from the working disk: %w", fmt.Errorf(format, args...))
}
