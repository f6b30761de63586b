package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"imageport/platforms"
)

// The files of a CE, in its directory <state>/<name>. Those that are written
// more than once are replaced by renaming, so that a reader sees all or nothing.
const (
	markFile    = "ce.json"      // mark: whose CE this is
	lockFile    = "agent.lock"   // locked by the agent for its life, or by Destroy. Made by Create
	seedFile    = "seed.json"    // platforms.Seed
	processFile = "process.json" // process: the agent that holds the lock, or the last one that did
	logFile     = "agent.log"    // what the agents print
	doomFile    = "destroying"   // a Destroy has begun, and is to be finished whatever comes next
)

// mark is the content of ce.json.
type mark struct {
	Job     string    `json:"job"`
	RunID   string    `json:"runId"`
	Owner   string    `json:"owner"`
	Created time.Time `json:"created"`
}

// maxFileBytes bounds what is read of a file of ours.
const maxFileBytes = 64 << 10

// readJSON reads a file of a CE. What is missing, or is not what we wrote (a
// power cut may have emptied it; nothing that it told of has survived that),
// gives ok == false.
func readJSON(path string, v any) (ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return false, err
	}
	return json.Unmarshal(b, v) == nil, nil
}

// replaceFile puts a file of mode 0600 in place. The callers exclude each other.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func replaceJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replaceFile(path, b)
}

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
		got, err := tryLock(fd, dir)
		if got {
			return func() { unlock(fd) }, nil
		}
		syscall.Close(fd)
		if err != nil {
			return nil, err
		}
		if err := sleep(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// tryLock takes the exclusive lock of the open file fd. It gives false if
// another one has it, and also if fd is not the file of that path any more:
// such a lock keeps nobody out.
func tryLock(fd int, path string) (bool, error) {
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

// unlock gives up the lock of the open file fd and closes it. Closing alone
// would leave the lock to a child that is between fork and exec just now.
func unlock(fd int) {
	syscall.Flock(fd, syscall.LOCK_UN)
	syscall.Close(fd)
}

// removeDir removes a CE's directory. The caller holds the locks of the
// directory and of the agent. The agent's lock goes first, so that no late
// agent can claim the rest. The marks go last, so that what a crash leaves can
// still be told whose it is, and that it is to go.
func removeDir(dir string, step func(string)) error {
	if err := remove(dir, lockFile); err != nil {
		return err
	}
	step("removed " + lockFile)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == markFile || e.Name() == doomFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
		step("removed " + e.Name())
	}
	for _, name := range []string{markFile, doomFile} {
		if err := remove(dir, name); err != nil {
			return err
		}
		step("removed " + name)
	}
	return os.Remove(dir)
}

func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// kindOf sorts the errors of the operating system.
func kindOf(err error) platforms.Kind {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return platforms.Busy
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return platforms.Full
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ETXTBSY):
		return platforms.Busy
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return platforms.Denied
	case errors.Is(err, fs.ErrNotExist):
		return platforms.NotFound
	}
	return platforms.KindOf(err)
}
