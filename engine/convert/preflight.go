package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"imageport/engine/disk/vhdx"
	"imageport/engine/share"
	"imageport/job"
)

// freeReserve is what must be free on the share beyond the estimate: headers,
// and a block for each of the scattered changes.
const freeReserve = 64 << 20

// Preflight finds every reason to refuse the task, and changes nothing.
func Preflight(ctx context.Context, store share.Store, t Task) (Approval, error) {
	im, err := openImage(ctx, store, t)
	if err != nil {
		return Approval{}, err
	}
	defer im.Close()
	if err := store.Writable(ctx); err != nil {
		return Approval{}, err
	}
	existing, err := stat(ctx, store, t.Output)
	if err != nil {
		return Approval{}, err
	}
	if existing != nil && !t.Overwrite {
		return Approval{}, job.Errorf(job.OutputExists, "Set overwriteOutput, or choose another outputImageFilename", "there is a file %s already", t.Output)
	}
	if existing != nil {
		if err := replaceable(ctx, store, t); err != nil {
			return Approval{}, err
		}
	}
	if other, _, err := otherClaim(ctx, store, t); err != nil {
		return Approval{}, err
	} else if other != "" {
		return Approval{}, claimed(t, other)
	}
	_, plan, err := im.plan(t)
	if err != nil {
		return Approval{}, err
	}
	// Every block of the disk has an entry of 8 bytes in the allocation table.
	need := 2*plan.ChangedBytes() + im.disk.Size()/blockSize*8 + freeReserve
	if free, err := store.Free(ctx); err != nil {
		return Approval{}, err
	} else if free < need {
		return Approval{}, job.Errorf(job.ShareFull, "Free some space on the share", "the share has %d MiB free, the output needs up to %d MiB", free>>20, need>>20)
	}
	return Approval{
		Source:        im.id,
		DataWriteGUID: im.info.DataWriteGUID,
		PlanDigest:    plan.Digest(),
		Existing:      existing,
		Warnings:      plan.Warnings,
	}, nil
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

// replaceable refuses to replace anything but an earlier output: a differencing
// disk of the same image. A slip in outputImageFilename must not cost another
// vDisk.
func replaceable(ctx context.Context, store share.Store, t Task) error {
	f, err := store.Open(ctx, t.Output)
	if err != nil {
		return err
	}
	defer f.Close()
	im, err := vhdx.Open(cached(f), f.Size())
	what := ""
	switch {
	case job.CodeOf(err) != "":
		return err // of the share
	case err != nil:
		what = fmt.Sprintf("not a VHDX that can be read (%s)", err)
	case im.Info().Type != vhdx.Differencing:
		what = "a disk of its own"
	case !strings.EqualFold(strings.TrimPrefix(im.Info().Parent.RelativePath, `.\`), t.Input):
		what = fmt.Sprintf("a differencing disk of %s", im.Info().Parent.RelativePath)
	default:
		return nil
	}
	return job.Errorf(job.OutputExists, "Choose another outputImageFilename, or remove the file if it is not needed",
		"overwriteOutput replaces only a differencing disk of %s, and %s is %s", t.Input, t.Output, what)
}
