package local

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"imageport/platforms"
	"imageport/platforms/cedir"
)

// ErrSuperseded means that the agent has nothing to do: its CE has another
// agent already or a guest, or was destroyed before the agent came up.
var ErrSuperseded = errors.New("the Compositing Engine has another agent or a guest, or is gone")

// Claim is the first thing an agent does. It makes the calling process the one
// agent of the CE that the seed belongs to, until release is called or the
// process ends, and tells the driver so. A process to which Claim returns
// ErrSuperseded has to exit, with code 0. The seed must be read after Claim.
func Claim(seedPath string) (release func(), err error) {
	dir, err := filepath.Abs(filepath.Dir(seedPath))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, cedir.LockFile)
	// Without O_CREAT: the lock's absence is how Destroy keeps late agents out.
	// A bare descriptor, because an os.File that the caller happens to lose
	// would be closed, and so unlocked, by the garbage collector.
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ENOENT) {
		return nil, ErrSuperseded
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	got, err := cedir.TryLock(fd, path)
	if err == nil && !got {
		err = ErrSuperseded
	}
	if err == nil {
		if err = cedir.NoGuest(dir); platforms.KindOf(err) == platforms.Busy {
			err = ErrSuperseded
		}
	}
	if err == nil {
		var me cedir.Process
		if me, err = cedir.Self(); err == nil {
			err = cedir.Record(dir, me)
		}
	}
	if err != nil {
		cedir.Unlock(fd)
		return nil, fmt.Errorf("claim %s: %w", dir, err)
	}
	return func() { cedir.Unlock(fd) }, nil
}
