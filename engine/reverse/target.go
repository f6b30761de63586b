package reverse

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"imageport/job"
)

// target is the output disk, as far as it was asked for, with errors that have
// codes.
type target struct {
	disk Disk
	size int64
}

// newTarget refuses a disk that is too small.
func newTarget(d Disk, a Approval) (*target, error) {
	if found := d.Size(); found < a.SizeBytes {
		return nil, job.Errorf(job.PlatformRefused, "Start the job again; if it fails again, report it", "the output disk has %d bytes, %d were asked for", found, a.SizeBytes)
	}
	return &target{d, a.SizeBytes}, nil
}

// diskError gives an error of the disk its code.
func diskError(err error) error {
	switch {
	case err == nil, job.CodeOf(err) != "":
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return job.Errorf(job.PlatformFull, "Make room where the platform has the disk", "the output disk: %w", err)
	}
	return job.Errorf(job.PlatformError, "Look at what the platform says of the disk", "the output disk: %w", err)
}

// ReadAt implements io.ReaderAt. Reads behind the size are a defect.
func (t *target) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.disk.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, diskError(fmt.Errorf("reading %d bytes at offset %d: %w", len(p), off, err))
}

func (t *target) WriteAt(p []byte, off int64) (int, error) {
	n, err := t.disk.WriteAt(p, off)
	return n, diskError(err)
}

// ZeroRange implements copier.ZeroRanger.
func (t *target) ZeroRange(off, n int64) error {
	err := t.disk.ZeroRange(off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return diskError(err)
}

func (t *target) Sync() error { return diskError(t.disk.Sync()) }

// settle makes everything written durable, and has it read from the disk from
// then on.
func (t *target) settle() error {
	if err := t.Sync(); err != nil {
		return err
	}
	return diskError(t.disk.DropCache())
}
