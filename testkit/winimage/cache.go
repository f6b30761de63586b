package winimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// CacheDirVariable is the environment variable that says where disks are kept;
// without it that is imageport-testkit in the user's cache directory.
const CacheDirVariable = "IMAGEPORT_TESTKIT_CACHE"

// unusedFor is how long a disk is kept after its last use: far longer than any
// run of the tests.
const unusedFor = 3 * 24 * time.Hour

const imageSuffix = ".img"

// Cached gives a disk that must not be written to: it is shared with whoever
// asks for the same Spec, in this process or another, and made only once.
func Cached(ctx context.Context, spec Spec) (Image, error) {
	dir, err := cacheDir()
	if err != nil {
		return Image{}, err
	}
	p, err := newPlan(ctx, spec, dir)
	if err != nil {
		return Image{}, err
	}
	key, err := p.key()
	if err != nil {
		return Image{}, err
	}
	lock, err := lockFile(ctx, filepath.Join(dir, key+".lock"))
	if err != nil {
		return Image{}, err
	}
	defer lock.Close()
	path := filepath.Join(dir, key+imageSuffix)
	now := time.Now()
	if err := os.Chtimes(path, now, time.Time{}); err == nil { // access time: last use
		return p.image(path), nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return Image{}, fmt.Errorf("winimage: %w", err)
	}
	if err := removeUnused(dir, now); err != nil {
		return Image{}, err
	}
	partial := path + ".partial"
	defer os.Remove(partial)
	if err := p.build(ctx, partial); err != nil {
		return Image{}, err
	}
	if err := errors.Join(os.Chmod(partial, 0o444), os.Rename(partial, path)); err != nil {
		return Image{}, fmt.Errorf("winimage: %w", err)
	}
	return p.image(path), nil
}

// cacheDir finds the cache directory, and makes it if it is missing.
func cacheDir() (string, error) {
	dir := os.Getenv(CacheDirVariable)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("winimage: no cache directory, set %s: %w", CacheDirVariable, err)
		}
		dir = filepath.Join(user, "imageport-testkit")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("winimage: %w", err)
	}
	return dir, nil
}

// lockFile waits until no other process and no other caller has the lock,
// which closing the file, or dying, gives back.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("winimage: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("winimage: lock %s: %w", path, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("winimage: lock %s: %w", path, ctx.Err()), f.Close())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// removeUnused removes disks that nobody asks for any more: those of earlier
// versions of the tests.
func removeUnused(dir string, now time.Time) error {
	images, err := filepath.Glob(filepath.Join(dir, "*"+imageSuffix))
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	for _, path := range images {
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			continue // another process was faster
		}
		if now.Sub(time.Unix(stat.Atim.Unix())) > unusedFor {
			os.Remove(path)
		}
	}
	return nil
}
