package publish_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/job"
)

// loose renames like Samba: it looks, and then renames, whatever has come in
// between.
type loose struct{ folder }

func (s loose) Rename(ctx context.Context, from, to string) error {
	if _, err := s.store.Stat(ctx, to); err == nil {
		return fs.ErrExist
	}
	time.Sleep(10 * time.Millisecond)
	return os.Rename(filepath.Join(s.path, from), filepath.Join(s.path, to))
}

type looseStore struct {
	share.Store
	loose
}

func (s looseStore) Rename(ctx context.Context, from, to string) error {
	return s.loose.Rename(ctx, from, to)
}

// Of jobs that publish the same output at once, exactly one succeeds, even where
// the server's rename does not tell them apart.
func TestOneOfManyPublishes(t *testing.T) {
	for range 5 {
		f := newFolder(t)
		store := looseStore{f.store, loose{f}}
		var jobs [4]work
		for i := range jobs {
			jobs[i] = f.compose(t, fmt.Sprintf("%012x", i))
		}
		var wg sync.WaitGroup
		var results [len(jobs)]error
		for i, w := range jobs {
			wg.Go(func() { results[i] = w.publish(t.Context(), store) })
		}
		wg.Wait()
		winner := -1
		for i, err := range results {
			switch code := job.CodeOf(err); {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatalf("jobs %d and %d both published", winner, i)
			case code != job.OutputInUse && code != job.OutputExists:
				t.Fatalf("job %d: %v", i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody published: %v", results)
		}
		for i, w := range jobs {
			if err := w.finish(t.Context(), f.store, i == winner); err != nil {
				t.Error(err)
			}
		}
		f.holds(t, jobs[winner].published())
	}
}

// A claim that nobody removes is waited for by the job with the smaller key, but
// not for ever.
func TestForgottenClaim(t *testing.T) {
	for key, wait := range map[string]time.Duration{"0123456789ab": 20 * time.Second, "f123456789ab": 0} {
		f := newFolder(t)
		f.write(t, output+".a00000000000.claim", "")
		w := f.compose(t, key)
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			err := w.publish(t.Context(), f.store)
			if took := time.Since(start); job.CodeOf(err) != job.OutputInUse || took < wait || took > wait+time.Second {
				t.Errorf("key %s: %v after %v, want to be refused after %v", key, err, took, wait)
			}
		})
		if err := w.finish(t.Context(), f.store, false); err != nil {
			t.Error(err)
		}
		f.holds(t, map[string]string{output + ".a00000000000.claim": ""})
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	f := newFolder(t)
	f.write(t, output+".a00000000000.claim", "")
	w := f.compose(t, "0123456789ab")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.publish(ctx, f.store); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// held cannot remove partial files: somebody has them open on the server.
type held struct{ share.Store }

var errHeld = errors.New("held open")

func (s held) Remove(ctx context.Context, name string) error {
	if strings.HasSuffix(name, "lost.partial") {
		return errHeld
	}
	return s.Store.Remove(ctx, name)
}

// A partial file that cannot be removed yet keeps nothing else from being right.
// Those of other jobs stay.
func TestPartials(t *testing.T) {
	f := newFolder(t)
	f.write(t, output, "old")
	w := f.compose(t, "0123456789ab")
	lost := w.names.Partial("lost")
	other := publish.Names{Output: output, Key: "ffffffffffff"}.Partial("lost")
	for _, name := range []string{lost, other, output + ".0123456789ab.vhdx"} {
		f.write(t, name, "")
	}
	f.write(t, strings.ToUpper(w.names.Output)+".0123456789AB.ce-0.partial", "") // as a server may give it back
	if err := w.publish(t.Context(), f.store); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(t.Context(), held{f.store}, false); !errors.Is(err, errHeld) {
		t.Errorf("got %v", err)
	}
	stay := map[string]string{output: "old", other: "", output + ".0123456789ab.vhdx": ""}
	withLost := maps.Clone(stay)
	withLost[lost] = ""
	f.holds(t, withLost)
	if err := publish.RemovePartials(t.Context(), f.store, w.names); err != nil {
		t.Error(err)
	}
	f.holds(t, stay)
}
