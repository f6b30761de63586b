package convert

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"imageport/engine/share"
	"imageport/job"
)

// freeReserve is what must be free on the share beyond the estimate: headers,
// and a block for each of the scattered changes.
const freeReserve = 64 << 20

// Admitted is the outcome of a preflight.
type Admitted struct {
	Approval Approval `json:"approval"`
	// Preview is what the job will make, as the result of a dry run.
	Preview job.Result `json:"preview"`
}

// Preflight finds every reason to refuse the task, and changes nothing.
func Preflight(ctx context.Context, store share.Store, t Task) (Admitted, error) {
	im, err := openImage(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	defer im.Close()
	if err := store.Writable(ctx); err != nil {
		return Admitted{}, err
	}
	version, err := nextVersion(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	if version != nil {
		t.Output = version.Output
	}
	if err := locked(ctx, store, t); err != nil {
		return Admitted{}, err
	}
	existing, err := admitOutput(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	_, plan, err := im.plan(ctx, t)
	if err != nil {
		return Admitted{}, err
	}
	// Every block of the disk has an entry of 8 bytes in the allocation table.
	need := 2*plan.EstimatedBytes + im.Size()/int64(blockSize(im.Size()))*8 + freeReserve
	if free, err := store.Free(ctx); err != nil {
		return Admitted{}, err
	} else if free < need {
		return Admitted{}, job.Errorf(job.ShareFull, "Free some space on the share", "the share has %d MiB free, the output needs up to %d MiB", free>>20, need>>20)
	}
	preview, err := im.preview(t, version, plan)
	return Admitted{Preview: preview, Approval: Approval{
		Output:     t.Output,
		Version:    version,
		Source:     im.layers,
		PlanDigest: plan.Digest(),
		Existing:   existing,
	}}, err
}

// locked refuses an image that PVS has in use: it keeps a file beside it as
// long as a target streams from it, or somebody maintains it.
func locked(ctx context.Context, store share.Store, t Task) error {
	lock := lockOf(t.Input)
	found, err := stat(ctx, store, lock)
	if err != nil || found == nil || t.IgnoreLock {
		return err
	}
	return job.Errorf(job.ImageLocked, "Shut the targets down that use it (Unlock-PvsDisk removes a lock that was left behind), or set ignoreLock if it is used read-only",
		"PVS has %s in use: there is a file %s", t.Input, lock)
}

// lockOf is the file that is there while PVS has an image in use. Each version
// of a vDisk has its own.
func lockOf(image string) string { return strings.TrimSuffix(image, path.Ext(image)) + ".lok" }

// admitOutput refuses an output that is there and must not be replaced, or is
// being written.
func admitOutput(ctx context.Context, store share.Store, t Task) (existing *FileID, err error) {
	existing, err = stat(ctx, store, t.Output)
	if err != nil {
		return nil, err
	}
	if existing != nil && !t.Overwrite {
		return nil, job.Errorf(job.OutputExists, "Set overwriteOutput, or choose another outputImageFilename", "there is a file %s already", t.Output)
	}
	if existing != nil {
		if err := replaceable(ctx, store, t); err != nil {
			return nil, err
		}
	}
	if other, _, err := otherClaim(ctx, store, t); err != nil {
		return nil, err
	} else if other != "" {
		return nil, claimed(t, other)
	}
	return existing, nil
}

// stat gives the version of a file, or nil where there is none.
func stat(ctx context.Context, store share.Store, name string) (*FileID, error) {
	info, err := store.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &FileID{info.Size, info.ModTime.UTC()}, nil
}
