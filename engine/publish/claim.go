package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"imageport/engine/share"
	"imageport/job"
)

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
func claim(ctx context.Context, store share.Store, n Names) error {
	f, err := store.CreateExcl(ctx, n.claim())
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // there from an earlier attempt
		return err
	}
	for deadline := time.Now().Add(claimPatience); ; {
		other, key, err := otherClaim(ctx, store, n)
		if err != nil || other == "" {
			return err
		}
		if n.Key > key || time.Now().After(deadline) {
			return errors.Join(
				claimed(n, other),
				ignoreNotExist(store.Remove(ctx, n.claim())))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(claimPoll):
		}
	}
}

func claimed(n Names, other string) error {
	return job.Errorf(job.OutputInUse, fmt.Sprintf("Wait for that job; if there is none, remove %s", other), "another job publishes %s right now: there is a file %s", n.Output, other)
}

// otherClaim finds the claim of another job on the same output.
func otherClaim(ctx context.Context, store share.Store, n Names) (name, key string, err error) {
	files, err := store.List(ctx)
	if err != nil {
		return "", "", err
	}
	for _, f := range files {
		if key, ok := n.claimedBy(f.Name); ok && key != n.Key {
			return f.Name, key, nil
		}
	}
	return "", "", nil
}
