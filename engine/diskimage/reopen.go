package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imageport/engine/share"
	"imageport/job"
)

// Reopener is a store whose files can be opened for writing again, which a
// conversion must be able to do to go on from where another one ended.
type Reopener interface {
	share.Store
	// Reopen opens a file for writing that CreateExcl has made. It keeps its
	// contents. The error is fs.ErrNotExist if there is none, and
	// job.OutputInUse if somebody else has it open by Reopen.
	Reopen(ctx context.Context, name string) (share.WritableFile, error)
}

// LocalFolder opens a local directory as a store for outputs.
func LocalFolder(path string) (Reopener, error) {
	s, err := share.Dir(path)
	if err != nil {
		return nil, err
	}
	return localFolder{s, path}, nil
}

type localFolder struct {
	share.Store
	path string
}

func (d localFolder) Reopen(ctx context.Context, name string) (share.WritableFile, error) {
	if _, err := d.Stat(ctx, name); err != nil { // checks the name, and that it is a file
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, job.Errorf(job.ShareDenied, "Give this process permission on the file", "%w", err)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(job.Errorf(job.OutputInUse, "Wait for its end", "%s is being written to by another process: %w", f.Name(), err), f.Close())
	}
	return lockedFile{f}, nil
}

// lockedFile is locked until it is closed, or its process ends.
type lockedFile struct{ file *os.File }

func (f lockedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.file.WriteAt(p, off)
	return n, full(err)
}

func (f lockedFile) Sync() error {
	if err := f.file.Sync(); err != nil {
		return full(fmt.Errorf("sync: %w", err))
	}
	return nil
}

func (f lockedFile) Close() error { return f.file.Close() }
