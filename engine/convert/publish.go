package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"imageport/engine/share"
	"imageport/job"
)

// Publish gives the composed output its name, without replacing: whoever was
// there first stays. With Overwrite, the output that preflight saw is renamed
// out of the way first, and only that one. Of several jobs that publish the
// same output at once, one succeeds.
func Publish(ctx context.Context, store share.Store, t Task, a Approval, c Composed) error {
	partial, err := stat(ctx, store, c.Partial)
	if err != nil {
		return err
	}
	if partial == nil { // an earlier attempt may have renamed it
		if output, err := stat(ctx, store, t.Output); err != nil {
			return err
		} else if output == nil || *output != c.File {
			return job.Errorf(job.VerifyFailed, "Start the job again", "the composed file %s is gone", c.Partial)
		}
		return nil
	}
	if *partial != c.File {
		return job.Errorf(job.VerifyFailed, "Start the job again", "%s has changed since it was verified", c.Partial)
	}
	if err := claim(ctx, store, t); err != nil {
		return err
	}
	if a.Existing != nil {
		if err := setAside(ctx, store, t, *a.Existing); err != nil {
			return err
		}
	}
	err = store.Rename(ctx, c.Partial, t.Output)
	if errors.Is(err, fs.ErrExist) {
		return job.Errorf(job.OutputExists, "Look at who made it; then start the job again with another outputImageFilename or with overwriteOutput", "a file %s appeared while the job ran", t.Output)
	}
	return errors.Join(err, ignoreNotExist(store.Remove(ctx, t.claim())))
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

// setAside renames the output that is to be replaced, if that has not happened.
func setAside(ctx context.Context, store share.Store, t Task, existing FileID) error {
	aside, err := stat(ctx, store, t.replaced())
	if err != nil || aside != nil {
		return err
	}
	now, err := stat(ctx, store, t.Output)
	if err != nil || now == nil { // somebody removed it: all the better
		return err
	}
	refusal := job.Errorf(job.OutputExists, "Look at who wrote it, then start the job again", "%s was changed while the job ran", t.Output)
	if *now != existing {
		return refusal
	}
	if err := store.Rename(ctx, t.Output, t.replaced()); err != nil {
		return err
	}
	// Another file may have taken its place in between.
	if aside, err = stat(ctx, store, t.replaced()); err != nil || aside == nil || *aside == existing {
		return err
	}
	return errors.Join(refusal, store.Rename(ctx, t.replaced(), t.Output))
}

// Finish ends a job on the share. With keep, what the published output
// replaced is removed. Without, the output of this job is removed, and what it
// replaced gets its name back. Partial files go either way, last: one that
// cannot be removed yet must not keep the output from being right. c is nil for
// a job that composed nothing.
func Finish(ctx context.Context, store share.Store, t Task, a Approval, c *Composed, keep bool) error {
	if !keep && c != nil {
		if err := takeBack(ctx, store, t, *c); err != nil {
			return err
		}
	}
	if err := settleReplaced(ctx, store, t, a, keep); err != nil {
		return err
	}
	if err := ignoreNotExist(store.Remove(ctx, t.claim())); err != nil {
		return err
	}
	return removePartials(ctx, store, t)
}

// takeBack removes the output, if it is the one that this job has published.
func takeBack(ctx context.Context, store share.Store, t Task, c Composed) error {
	output, err := stat(ctx, store, t.Output)
	if err != nil || output == nil || *output != c.File {
		return err
	}
	return ignoreNotExist(store.Remove(ctx, t.Output))
}

// settleReplaced removes the output that was set aside, or gives it its name
// back.
func settleReplaced(ctx context.Context, store share.Store, t Task, a Approval, keep bool) error {
	aside, err := stat(ctx, store, t.replaced())
	if err != nil || aside == nil {
		return err
	}
	if keep && a.Existing != nil && *aside == *a.Existing {
		return ignoreNotExist(store.Remove(ctx, t.replaced()))
	}
	err = store.Rename(ctx, t.replaced(), t.Output)
	if errors.Is(err, fs.ErrExist) {
		return job.Errorf(job.CleanupFailed, fmt.Sprintf("Keep the one that you want: the old one is %s", t.replaced()), "the output that the job was to replace could not get its name %s back: there is another file", t.Output)
	}
	return err
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
