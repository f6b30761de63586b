package atomicfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked says that another writer holds the lock of the directory.
var ErrLocked = errors.New("another program is changing it")

const (
	// lockWait is how long another writer may take: it holds the lock for the
	// writing of two small files.
	lockWait = 10 * time.Second
	lockPoll = 20 * time.Millisecond
)

// suffix makes the name under which new content is written. What a killed
// writer leaves there, the next one removes.
const suffix = ".new"

// Lock gives the caller the directory for writing, until unlock is called or
// the process ends. It waits for another writer until ctx ends, ten seconds at
// most; the error is then ErrLocked, wrapped.
//
// It is the directory itself that is locked: a lock file would stay behind,
// and be the wrong user's when root was the first to write.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, ErrLocked)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // which unlocks
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}

// Writer writes files. The zero Writer is ready for use.
type Writer struct {
	// Step, if not nil, is called before each step that a crash may cut off.
	Step func(name string)
}

// Replace gives the file at path that content, whether it exists or not. It has
// mode 0600, and keeps its owner. If path is a symbolic link, the file that it
// leads to is replaced.
func (w Writer) Replace(path string, content []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	owner, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return w.write(path, content, owner, func(temporary string) error { return os.Rename(temporary, path) })
}

// Create makes the file at path, with mode 0600. Where there is one already, it
// stays as it is, and the error is fs.ErrExist, wrapped.
func (w Writer) Create(path string, content []byte) error {
	return w.write(path, content, nil, func(temporary string) error {
		if err := os.Link(temporary, path); err != nil { // unlike rename it replaces nothing
			return err
		}
		w.step("remove temporary")
		return os.Remove(temporary)
	})
}

// Remove removes the file at path.
func (w Writer) Remove(path string) error {
	w.step("remove")
	if err := os.Remove(path); err != nil {
		return err
	}
	return w.syncDir(filepath.Dir(path))
}

func (w Writer) write(path string, content []byte, owner fs.FileInfo, install func(temporary string) error) error {
	temporary := path + suffix
	w.step("remove stale")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := w.writeTemporary(temporary, content, owner); err != nil {
		os.Remove(temporary) // the error at hand is the one that counts
		return err
	}
	w.step("install")
	if err := install(temporary); err != nil {
		os.Remove(temporary)
		return err
	}
	return w.syncDir(filepath.Dir(path))
}

func (w Writer) writeTemporary(path string, content []byte, owner fs.FileInfo) (err error) {
	w.step("create")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w.step("set rights")
	if err := f.Chmod(0o600); err != nil { // whatever the umask
		return err
	}
	if err := keepOwner(f, owner); err != nil {
		return err
	}
	w.step("write")
	if _, err := f.Write(content); err != nil {
		return err
	}
	w.step("sync")
	return f.Sync()
}

// keepOwner gives f the owner of the file that it replaces: what root changes,
// the service must still be able to read.
func keepOwner(f *os.File, old fs.FileInfo) error {
	if old == nil {
		return nil
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, ok1 := old.Sys().(*syscall.Stat_t)
	is, ok2 := now.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	if was.Uid == is.Uid {
		_ = f.Chown(-1, int(was.Gid)) // with mode 0600 the group has no say
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}

func (w Writer) syncDir(dir string) error {
	w.step("sync directory")
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (w Writer) step(name string) {
	if w.Step != nil {
		w.Step(name)
	}
}
