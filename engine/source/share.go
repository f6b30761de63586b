package source

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"

	"imageport/engine/disk/chain"
	"imageport/engine/share"
	"imageport/job"
)

// Access is how an image is going to be read.
type Access int

const (
	// Scattered is in small pieces here and there, some of them again: above
	// all the boot files of a Windows, which are read when they are copied and
	// again when the copy is verified.
	Scattered Access = iota
	// Streamed is in large pieces, once.
	Streamed
)

// The caches of a file. What is read scattered wants small blocks and many of
// them; they take memory once they are read, so a chain of many files takes no
// more than one. What is streamed goes past its cache, which is for tables.
const (
	cacheBlock      = 64 << 10
	scatteredBlocks = 1024
	streamedBlocks  = 16
)

// Folder reads the files of the share through caches, and counts in read what is
// asked of the share.
func Folder(store share.Store, a Access, read *atomic.Int64) chain.Folder {
	blocks := scatteredBlocks
	if a == Streamed {
		blocks = streamedBlocks
	}
	return chain.FolderOf(func(ctx context.Context, name string) (share.File, error) {
		f, err := store.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		return share.BufferedFile(Counted(f, read), cacheBlock, blocks), nil
	})
}

// Cached is a file for scattered reading.
func Cached(f share.File) share.File { return share.BufferedFile(f, cacheBlock, scatteredBlocks) }

// Counted counts in n what is read from a file.
func Counted(f share.File, n *atomic.Int64) share.File { return counter{f, n} }

type counter struct {
	share.File
	n *atomic.Int64
}

func (c counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

// Stat gives the version of a file, or nil where there is none.
func Stat(ctx context.Context, store share.Store, name string) (*FileID, error) {
	info, err := store.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &FileID{info.Size, info.ModTime.UTC()}, nil
}

// Unlocked refuses, with job.ImageLocked, an image that PVS has in use: it
// keeps a file beside it as long as a target streams from it, or somebody
// maintains it.
func Unlocked(ctx context.Context, store share.Store, image string) error {
	lock := LockOf(image)
	found, err := Stat(ctx, store, lock)
	if err != nil || found == nil {
		return err
	}
	return job.Errorf(job.ImageLocked, "Shut the targets down that use it (Unlock-PvsDisk removes a lock that was left behind), or set ignoreLock if it is used read-only",
		"PVS has %s in use: there is a file %s", image, lock)
}

// LockOf is the file that is there while PVS has an image in use. Each version
// of a vDisk has its own.
func LockOf(image string) string { return strings.TrimSuffix(image, path.Ext(image)) + ".lok" }
