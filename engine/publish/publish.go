package publish

import (
	"context"
	"errors"
	"io/fs"

	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Publish gives the pieces their names, in their order, without replacing:
// whoever was there first stays. What a piece may replace is renamed out of the
// way first, and only that. Of several jobs that publish the same output at
// once, one succeeds.
//
// A name that was taken meanwhile is job.OutputExists, another job's claim
// job.OutputInUse, a piece that is gone or not the one that was verified
// job.VerifyFailed.
func Publish(ctx context.Context, store share.Store, n Names, pieces []Piece) error {
	left, err := unpublished(ctx, store, pieces)
	if err != nil || len(left) == 0 { // an earlier attempt may have got so far
		return err
	}
	if err := claim(ctx, store, n); err != nil {
		return err
	}
	for _, p := range left {
		if p.Existing != nil {
			if err := setAside(ctx, store, n, p.Place()); err != nil {
				return err
			}
		}
		err := store.Rename(ctx, p.Partial, p.Name)
		if errors.Is(err, fs.ErrExist) {
			return job.Errorf(job.OutputExists, "Look at who made it; then start the job again with another outputImageFilename or with overwriteOutput", "a file %s appeared while the job ran", p.Name)
		}
		if err != nil {
			return err
		}
	}
	return ignoreNotExist(store.Remove(ctx, n.claim()))
}

// unpublished are the files that do not have their names yet.
func unpublished(ctx context.Context, store share.Store, pieces []Piece) ([]Piece, error) {
	var left []Piece
	for _, p := range pieces {
		partial, err := source.Stat(ctx, store, p.Partial)
		if err != nil {
			return nil, err
		}
		if partial != nil && *partial != p.File {
			return nil, job.Errorf(job.VerifyFailed, "Start the job again", "%s has changed since it was verified", p.Partial)
		}
		if partial != nil {
			left = append(left, p)
			continue
		}
		if there, err := source.Stat(ctx, store, p.Name); err != nil {
			return nil, err
		} else if there == nil || *there != p.File {
			return nil, job.Errorf(job.VerifyFailed, "Start the job again", "the composed file %s is gone", p.Partial)
		}
	}
	return left, nil
}

// setAside renames the file that is to be replaced, if that has not happened.
func setAside(ctx context.Context, store share.Store, n Names, p Place) error {
	name := n.replaced(p.Name)
	aside, err := source.Stat(ctx, store, name)
	if err != nil || aside != nil {
		return err
	}
	now, err := source.Stat(ctx, store, p.Name)
	if err != nil || now == nil { // somebody removed it: all the better
		return err
	}
	refusal := job.Errorf(job.OutputExists, "Look at who wrote it, then start the job again", "%s was changed while the job ran", p.Name)
	if *now != *p.Existing {
		return refusal
	}
	if err := store.Rename(ctx, p.Name, name); err != nil {
		return err
	}
	// Another file may have taken its place in between.
	if aside, err = source.Stat(ctx, store, name); err != nil || aside == nil || *aside == *p.Existing {
		return err
	}
	return errors.Join(refusal, store.Rename(ctx, name, p.Name))
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
