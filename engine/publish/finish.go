package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Finish ends a job on the share. With keep, what the published pieces replaced
// is removed. Without, the pieces are removed, and what they replaced gets its
// name back. Partial files go either way, last: one that cannot be removed yet
// must not keep the output from being right. places are all that the job was to
// take, pieces those that it has composed, if it got so far.
func Finish(ctx context.Context, store share.Store, n Names, places []Place, pieces []Piece, keep bool) error {
	if !keep {
		// What is published last goes first.
		for _, p := range slices.Backward(pieces) {
			if err := takeBack(ctx, store, p); err != nil {
				return err
			}
		}
	}
	for _, p := range places {
		if err := settleReplaced(ctx, store, n, p, keep); err != nil {
			return err
		}
	}
	if err := ignoreNotExist(store.Remove(ctx, n.claim())); err != nil {
		return err
	}
	return RemovePartials(ctx, store, n)
}

// takeBack removes a published file, if it is the one that this job has made:
// it is not, as long as that still has its partial name, whatever it looks like.
func takeBack(ctx context.Context, store share.Store, p Piece) error {
	if partial, err := source.Stat(ctx, store, p.Partial); err != nil || partial != nil {
		return err
	}
	there, err := source.Stat(ctx, store, p.Name)
	if err != nil || there == nil || *there != p.File {
		return err
	}
	return ignoreNotExist(store.Remove(ctx, p.Name))
}

// settleReplaced removes the file that was set aside, or gives it its name back.
func settleReplaced(ctx context.Context, store share.Store, n Names, p Place, keep bool) error {
	name := n.replaced(p.Name)
	aside, err := source.Stat(ctx, store, name)
	if err != nil || aside == nil {
		return err
	}
	if keep && p.Existing != nil && *aside == *p.Existing {
		return ignoreNotExist(store.Remove(ctx, name))
	}
	err = store.Rename(ctx, name, p.Name)
	if errors.Is(err, fs.ErrExist) {
		return job.Errorf(job.CleanupFailed, fmt.Sprintf("Keep the one that you want: the old one is %s", name), "the file that the job was to replace could not get its name %s back: there is another one", p.Name)
	}
	return err
}

// RemovePartials deletes the partial files of this job, as far as it can: a
// Compositing Engine that was lost may still have one open on the server. The
// error is that of the last one that is left.
func RemovePartials(ctx context.Context, store share.Store, n Names) error {
	files, err := store.List(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, f := range files {
		if !n.isPartial(f.Name) {
			continue
		}
		if err := ignoreNotExist(store.Remove(ctx, f.Name)); err != nil {
			failed = err
		}
	}
	return failed
}
