package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Publish gives the composed files their names, the output first and the
// manifest of its version last, without replacing: whoever was there first
// stays. What the job may replace, as preflight saw it, is renamed out of the
// way first, and only that. Of several jobs that publish the same output at
// once, one succeeds.
func Publish(ctx context.Context, store share.Store, t Task, a Approval, c Composed) error {
	left, err := unpublished(ctx, store, c)
	if err != nil || len(left) == 0 { // an earlier attempt may have got so far
		return err
	}
	if err := claim(ctx, store, t); err != nil {
		return err
	}
	for _, p := range left {
		if p.Existing != nil {
			if err := setAside(ctx, store, t, p.place()); err != nil {
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
	return ignoreNotExist(store.Remove(ctx, t.claim()))
}

// unpublished are the files that do not have their names yet.
func unpublished(ctx context.Context, store share.Store, c Composed) ([]Piece, error) {
	var left []Piece
	for _, p := range c.Pieces {
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

// How long, and how often, a job looks whether another one's claim is gone.
const (
	claimPatience = 20 * time.Second
	claimPoll     = 100 * time.Millisecond
)

// claim makes this job the only one of ours that touches the output until its
// claim is removed. Samba needs it: of two renames to one name at the same
// time it may let both succeed. Every job first makes a file that carries its
// key, then looks for those of others. Of two that see each other, the one with
// the greater key gives way; the other one waits, because it cannot know
// whether the first had looked before there was anything to see.
func claim(ctx context.Context, store share.Store, t Task) error {
	f, err := store.CreateExcl(ctx, t.claim())
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // there from an earlier attempt
		return err
	}
	for deadline := time.Now().Add(claimPatience); ; {
		other, key, err := otherClaim(ctx, store, t)
		if err != nil || other == "" {
			return err
		}
		if t.Key > key || time.Now().After(deadline) {
			return errors.Join(
				claimed(t, other),
				ignoreNotExist(store.Remove(ctx, t.claim())))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(claimPoll):
		}
	}
}

func claimed(t Task, other string) error {
	return job.Errorf(job.OutputInUse, fmt.Sprintf("Wait for that job; if there is none, remove %s", other), "another job publishes %s right now: there is a file %s", t.Output, other)
}

// otherClaim finds the claim of another job on the same output.
func otherClaim(ctx context.Context, store share.Store, t Task) (name, key string, err error) {
	files, err := store.List(ctx)
	if err != nil {
		return "", "", err
	}
	for _, f := range files {
		if key, ok := t.claimedBy(f.Name); ok && key != t.Key {
			return f.Name, key, nil
		}
	}
	return "", "", nil
}

// setAside renames the file that is to be replaced, if that has not happened.
func setAside(ctx context.Context, store share.Store, t Task, p place) error {
	aside, err := source.Stat(ctx, store, t.replaced(p.name))
	if err != nil || aside != nil {
		return err
	}
	now, err := source.Stat(ctx, store, p.name)
	if err != nil || now == nil { // somebody removed it: all the better
		return err
	}
	refusal := job.Errorf(job.OutputExists, "Look at who wrote it, then start the job again", "%s was changed while the job ran", p.name)
	if *now != *p.existing {
		return refusal
	}
	if err := store.Rename(ctx, p.name, t.replaced(p.name)); err != nil {
		return err
	}
	// Another file may have taken its place in between.
	if aside, err = source.Stat(ctx, store, t.replaced(p.name)); err != nil || aside == nil || *aside == *p.existing {
		return err
	}
	return errors.Join(refusal, store.Rename(ctx, t.replaced(p.name), p.name))
}

// Finish ends a job on the share. With keep, what the published files replaced
// is removed. Without, the files of this job are removed, and what they
// replaced gets its name back. Partial files go either way, last: one that
// cannot be removed yet must not keep the output from being right. c is nil for
// a job that composed nothing.
func Finish(ctx context.Context, store share.Store, t Task, a Approval, c *Composed, keep bool) error {
	if !keep && c != nil {
		// The manifest, which is published last, goes first.
		for i := range c.Pieces {
			if err := takeBack(ctx, store, c.Pieces[len(c.Pieces)-1-i]); err != nil {
				return err
			}
		}
	}
	for _, p := range a.places() {
		if err := settleReplaced(ctx, store, t, p, keep); err != nil {
			return err
		}
	}
	if err := ignoreNotExist(store.Remove(ctx, t.claim())); err != nil {
		return err
	}
	return removePartials(ctx, store, t)
}

// takeBack removes a published file, if it is the one that this job has made.
func takeBack(ctx context.Context, store share.Store, p Piece) error {
	there, err := source.Stat(ctx, store, p.Name)
	if err != nil || there == nil || *there != p.File {
		return err
	}
	return ignoreNotExist(store.Remove(ctx, p.Name))
}

// settleReplaced removes the file that was set aside, or gives it its name back.
func settleReplaced(ctx context.Context, store share.Store, t Task, p place, keep bool) error {
	name := t.replaced(p.name)
	aside, err := source.Stat(ctx, store, name)
	if err != nil || aside == nil {
		return err
	}
	if keep && p.existing != nil && *aside == *p.existing {
		return ignoreNotExist(store.Remove(ctx, name))
	}
	err = store.Rename(ctx, name, p.name)
	if errors.Is(err, fs.ErrExist) {
		return job.Errorf(job.CleanupFailed, fmt.Sprintf("Keep the one that you want: the old one is %s", name), "the file that the job was to replace could not get its name %s back: there is another one", p.name)
	}
	return err
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
