package winimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// fillerFile takes the space that is not to be free.
const fillerFile = "filler.bin"

// fill leaves that many bytes free on the volume, or a little less.
func fill(ctx context.Context, path string, free int64) error {
	if err := onVolume(ctx, path, func(dir string) error {
		has, err := freeBytes(dir)
		if err != nil {
			return err
		}
		if has < free {
			return fmt.Errorf("%w: %d MiB are free on C:, not %d", ErrSpec, has/mib, free/mib)
		}
		return writeZeros(ctx, filepath.Join(dir, fillerFile), has-free)
	}); err != nil {
		return err
	}
	return digHoles(ctx, path)
}

// spacer is a file that keeps a piece of the space; its name ends in a number.
const spacer = "spacer"

var spacerName = regexp.MustCompile(`\b` + spacer + `[0-9]+\b`)

// scatter writes the files of the tree that are late, in pieces of 1 MiB at the
// end of the volume: it fills the volume with spacers of that size, and deletes
// every other one of those at the end. A part finds a place elsewhere: a spacer
// may have been in pieces itself.
func scatter(ctx context.Context, path string, t tree, seed uint64) error {
	const piece = mib
	pieces := 1
	for _, f := range t {
		if f.late {
			pieces += int((f.size() + piece - 1) / piece)
		}
	}
	if err := onVolume(ctx, path, func(dir string) error {
		const spare = 128 << 10 // for what files need besides
		free, err := freeBytes(dir)
		for i := 0; err == nil && free > 2*spare; i++ {
			if err = writeZeros(ctx, filepath.Join(dir, spacer+strconv.Itoa(i)), min(piece, free-spare)); err == nil {
				free, err = freeBytes(dir)
			}
		}
		return err
	}); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	const cluster = 4096
	end := info.Size()/cluster - 1
	found, err := output(ctx, "ntfscluster", "--cluster", fmt.Sprintf("%d-%d", end-int64(2*pieces+2)*piece/cluster, end-1), path)
	if err != nil {
		return err
	}
	last := spacerName.FindAllString(found, -1)
	slices.Sort(last)
	last = slices.Compact(last)
	if len(last) < 2*pieces {
		return fmt.Errorf("winimage: only %d MiB at the end of C: can be scattered over:\n%s", len(last), found)
	}
	if err := onVolume(ctx, path, func(dir string) error {
		for i := 0; i < 2*pieces; i += 2 {
			if err := os.Remove(filepath.Join(dir, last[i])); err != nil {
				return fmt.Errorf("winimage: %w", err)
			}
		}
		if err := t.write(ctx, dir, seed, nil, true); err != nil {
			return err
		}
		spacers, err := filepath.Glob(filepath.Join(dir, spacer+"*"))
		for _, path := range spacers {
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}); err != nil {
		return err
	}
	return digHoles(ctx, path)
}

// writeZeros makes a file of zeros that has its clusters.
func writeZeros(ctx context.Context, path string, size int64) error {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer out.Close()
	zeros := make([]byte, mib)
	for ; size > 0 && ctx.Err() == nil; size -= mib {
		if _, err := out.Write(zeros[:min(size, mib)]); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
	}
	if err := errors.Join(ctx.Err(), out.Close()); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	return nil
}

// digHoles makes holes of what is zero in a file.
func digHoles(ctx context.Context, path string) error {
	return run(ctx, "fallocate", "--dig-holes", path)
}

// freeBytes is how much is free on a mounted volume.
func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("winimage: %s: %w", dir, err)
	}
	return int64(stat.Bfree) * stat.Bsize, nil
}
