package diskimage

import (
	"context"
	"errors"

	"imageport/engine/disk/chain"
	"imageport/engine/share"
)

// Input says where an image is.
type Input struct {
	Folder chain.Folder
	Name   string
	// Raw allows the file to be a raw disk of 512-byte sectors, which it is
	// taken for if it has no signature.
	Raw bool
}

// Open opens an image with its parents. The log of a VHDX that was not closed
// properly is replayed in memory; Describe tells.
func Open(ctx context.Context, in Input) (*chain.Chain, error) {
	c, err := chain.Open(ctx, in.Folder, in.Name, chain.Options{ReplayLogs: true})
	if in.Raw && errors.Is(err, chain.ErrUnknownFormat) {
		raw, rawErr := chain.Open(ctx, in.Folder, in.Name, chain.Options{Raw: true})
		if rawErr == nil {
			return raw, nil
		}
		err = errors.Join(err, rawErr)
	}
	if err != nil {
		return nil, Coded(err)
	}
	return c, nil
}

// The cache of each file on a share, 1 MiB: 64 MiB for the longest chain. What
// is copied goes past it, because that is read in pieces of more than a quarter
// of it; tables and bitmaps do not.
const (
	cacheBlock  = 64 << 10
	cacheBlocks = 16
)

// OnShare is a folder on a share, whose files are read through a cache.
func OnShare(store share.Store) chain.Folder {
	return chain.FolderOf(func(ctx context.Context, name string) (share.File, error) {
		f, err := store.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		return share.BufferedFile(f, cacheBlock, cacheBlocks), nil
	})
}

// Local is a local folder, whose files the system caches.
func Local(store share.Store) chain.Folder { return chain.FolderOf(store.Open) }
