// Package cache keeps what tests build from sources: folders below the test
// kit's cache directory, made once and then shared by all processes and later
// runs. A folder appears complete or not at all. Folders that nobody asked for
// in days are removed when another of their kind is made. What is in a folder
// must be treated as read-only.
package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"imageport/testkit/winimage"
)

// unusedFor is how long a folder is kept after its last use.
const unusedFor = 3 * 24 * time.Hour

// Dir finds the cache directory, that of winimage, and makes it if it is missing.
func Dir() (string, error) {
	dir := os.Getenv(winimage.CacheDirVariable)
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil { // a program that was started with little of an environment
			u, userErr := user.Current()
			if userErr != nil {
				return "", fmt.Errorf("cache: set %s: %w", winimage.CacheDirVariable, errors.Join(err, userErr))
			}
			base = filepath.Join(u.HomeDir, ".cache")
		}
		dir = filepath.Join(base, "imageport-testkit")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return dir, nil
}

// Folder gives the folder of a kind with a key, which is a hash of everything
// that decides on its content. If it is not there, fill is called to fill it.
func Folder(ctx context.Context, kind, key string, fill func(dir string) error) (string, error) {
	root, err := Dir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, kind+"-"+key)
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer lock.Close()
	if err := wait(ctx, lock); err != nil {
		return "", err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err == nil {
		return dir, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("cache: %w", err)
	}
	removeUnused(root, kind, now)
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil { // of one that was killed
		return "", fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(partial)
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := fill(partial); err != nil {
		return "", err
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return dir, nil
}

// wait waits for the lock, which closing the file, or dying, gives back.
func wait(ctx context.Context, lock *os.File) error {
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cache: lock %s: %w", lock.Name(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cache: lock %s: %w", lock.Name(), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// removeUnused removes folders of a kind that nobody asks for any more: those of
// earlier sources. One that cannot be removed now is removed another time.
func removeUnused(root, kind string, now time.Time) {
	dirs, _ := filepath.Glob(filepath.Join(root, kind+"-*"))
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && now.Sub(info.ModTime()) > unusedFor {
			os.RemoveAll(dir)
		}
	}
}
