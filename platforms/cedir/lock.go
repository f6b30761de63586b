package cedir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"imageport/platforms"
)

// lockPoll is the pause between two tries for a lock that another one holds.
const lockPoll = 20 * time.Millisecond

// lockDir locks a CE's directory against all other creators and destroyers,
// in this process and others, and gives the function that unlocks it. With
// create, it makes the directory if need be; else fs.ErrNotExist is the error for
// a directory that is not there, or is no longer.
func lockDir(ctx context.Context, dir string, create bool) (release func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if create {
			if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, err
			}
		}
		fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, syscall.ENOENT) && create:
			continue // destroyed just now
		case errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP):
			return nil, platforms.Errorf(platforms.Foreign, "%s is not a directory", dir)
		case err != nil:
			return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		got, err := TryLock(fd, dir)
		if got {
			return func() { Unlock(fd) }, nil
		}
		syscall.Close(fd)
		if err != nil {
			return nil, err
		}
		if err := Sleep(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// TryLock takes the exclusive lock of the open file fd. It gives false if
// another one has it, and also if fd is not the file of that path any more:
// such a lock keeps nobody out.
func TryLock(fd int, path string) (bool, error) {
	for {
		err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		if err != nil {
			return false, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		break
	}
	var open, named syscall.Stat_t
	if err := syscall.Fstat(fd, &open); err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if err := syscall.Lstat(path, &named); err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return false, nil
		}
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return open.Dev == named.Dev && open.Ino == named.Ino, nil
}

// Unlock gives up the lock of the open file fd and closes it. Closing alone
// would leave the lock to a child that is between fork and exec just now.
func Unlock(fd int) {
	syscall.Flock(fd, syscall.LOCK_UN)
	syscall.Close(fd)
}
