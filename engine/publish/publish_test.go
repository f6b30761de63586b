package publish_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

const (
	output   = "Win10.vhdx"
	manifest = "win10.xml"
)

// folder is a directory behind the share interface.
type folder struct {
	path  string
	store share.Store
}

func newFolder(t *testing.T) folder {
	t.Helper()
	path := t.TempDir()
	store, err := share.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return folder{path, store}
}

func (f folder) write(t *testing.T, name, contents string) *source.FileID {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.path, name), []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return f.id(t, name)
}

func (f folder) id(t *testing.T, name string) *source.FileID {
	t.Helper()
	id, err := source.Stat(t.Context(), f.store, name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// files is what is in the folder, by name.
func (f folder) files(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(f.path)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(f.path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func (f folder) holds(t *testing.T, want map[string]string) {
	t.Helper()
	if got := f.files(t); !maps.Equal(got, want) {
		t.Errorf("the folder holds %v, want %v", got, want)
	}
}

// work is a job that publishes an output with its manifest.
type work struct {
	names  publish.Names
	pieces []publish.Piece
}

// compose writes the partial files of a job, which may replace what is there.
func (f folder) compose(t *testing.T, key string) work {
	t.Helper()
	n := publish.Names{Output: output, Key: key}
	w := work{names: n}
	for _, p := range []publish.Piece{
		{Name: output, Partial: n.Partial("ce-1")},
		{Name: manifest, Partial: n.PartialOf("ce-1", manifest)},
	} {
		p.Existing = f.id(t, p.Name)
		p.File = *f.write(t, p.Partial, p.Name+" of "+key)
		w.pieces = append(w.pieces, p)
	}
	return w
}

func (w work) places() []publish.Place {
	var all []publish.Place
	for _, p := range w.pieces {
		all = append(all, p.Place())
	}
	return all
}

func (w work) publish(ctx context.Context, store share.Store) error {
	return publish.Publish(ctx, store, w.names, w.pieces)
}

func (w work) finish(ctx context.Context, store share.Store, keep bool) error {
	return publish.Finish(ctx, store, w.names, w.places(), w.pieces, keep)
}

func (w work) published() map[string]string {
	return map[string]string{output: output + " of " + w.names.Key, manifest: manifest + " of " + w.names.Key}
}

// cut is a store that fails after some changes. Every one fails once before it
// is done, and once after it.
type cut struct {
	share.Store
	left atomic.Int64
}

var errCut = errors.New("cut")

func (s *cut) around(do func() error) error {
	if s.left.Add(-1) < 0 {
		return errCut
	}
	if err := do(); err != nil {
		return err
	}
	if s.left.Add(-1) < 0 {
		return errCut
	}
	return nil
}

func (s *cut) CreateExcl(ctx context.Context, name string) (f share.WritableFile, err error) {
	return f, s.around(func() error { f, err = s.Store.CreateExcl(ctx, name); return err })
}

func (s *cut) Rename(ctx context.Context, from, to string) error {
	return s.around(func() error { return s.Store.Rename(ctx, from, to) })
}

func (s *cut) Remove(ctx context.Context, name string) error {
	return s.around(func() error { return s.Store.Remove(ctx, name) })
}

// Cut off anywhere, publishing and finishing go on from there, or are taken
// back, in which case there is again what was there. What has a name is complete
// all the time.
func TestCutAnywhere(t *testing.T) {
	for _, existing := range []bool{false, true} {
		for _, keep := range []bool{true, false} {
			t.Run(fmt.Sprintf("existing %v, keep %v", existing, keep), func(t *testing.T) {
				for n := int64(0); ; n++ {
					f := newFolder(t)
					before := map[string]string{"other.vhdx": "other"}
					f.write(t, "other.vhdx", "other")
					if existing {
						for _, name := range []string{output, manifest} {
							f.write(t, name, "old "+name)
							before[name] = "old " + name
						}
					}
					w := f.compose(t, "0123456789ab")
					want := before
					if keep {
						want = w.published()
						want["other.vhdx"] = "other"
					}
					store := &cut{Store: f.store}
					store.left.Store(n)
					err := w.publish(t.Context(), store)
					for _, name := range []string{output, manifest} {
						if c, ok := f.files(t)[name]; ok && c != before[name] && c != w.published()[name] {
							t.Fatalf("cut after %d: %s is %q", n, name, c)
						}
					}
					if err == nil {
						err = w.finish(t.Context(), store, keep)
					}
					if err == nil {
						f.holds(t, want)
						if n < 8 {
							t.Errorf("it took %d changes only", n)
						}
						return
					}
					if !errors.Is(err, errCut) {
						t.Fatalf("cut after %d: %v", n, err)
					}
					if keep {
						if err := w.publish(t.Context(), f.store); err != nil {
							t.Fatalf("cut after %d, published again: %v", n, err)
						}
					}
					for range 2 { // Finish, too, may run twice
						if err := w.finish(t.Context(), f.store, keep); err != nil {
							t.Fatalf("cut after %d, finished again: %v", n, err)
						}
					}
					f.holds(t, want)
					if t.Failed() {
						t.Fatalf("cut after %d", n)
					}
				}
			})
		}
	}
}

// Somebody else's files are neither replaced nor removed, and what was set aside
// comes back.
func TestOthersFiles(t *testing.T) {
	for _, c := range []struct {
		name     string
		existing string // under the output's name, before; "" for none
		meddle   func(t *testing.T, f folder, w work)
		code     job.Code
		// want is under the output's name after the job was taken back.
		want string
	}{
		{"appeared", "", func(t *testing.T, f folder, _ work) { f.write(t, output, "theirs") }, job.OutputExists, "theirs"},
		{"changed", "old", func(t *testing.T, f folder, _ work) { f.write(t, output, "theirs") }, job.OutputExists, "theirs"},
		{"removed", "old", func(t *testing.T, f folder, _ work) {
			if err := os.Remove(filepath.Join(f.path, output)); err != nil {
				t.Fatal(err)
			}
		}, "", ""},
		{"manifest appeared", "old", func(t *testing.T, f folder, _ work) { f.write(t, manifest, "theirs") }, job.OutputExists, "old"},
		{"partial file changed", "old", func(t *testing.T, f folder, w work) { f.write(t, w.pieces[0].Partial, "torn") }, job.VerifyFailed, "old"},
		{"partial file gone", "", func(t *testing.T, f folder, w work) {
			if err := os.Remove(filepath.Join(f.path, w.pieces[1].Partial)); err != nil {
				t.Fatal(err)
			}
		}, job.VerifyFailed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t)
			if c.existing != "" {
				f.write(t, output, c.existing)
			}
			w := f.compose(t, "0123456789ab")
			c.meddle(t, f, w)
			theirs := f.files(t)[manifest]
			if err := w.publish(t.Context(), f.store); job.CodeOf(err) != c.code || err == nil != (c.code == "") {
				t.Errorf("got %q, %v", job.CodeOf(err), err)
			}
			if err := w.finish(t.Context(), f.store, false); err != nil {
				t.Error(err)
			}
			want := map[string]string{}
			if c.want != "" {
				want[output] = c.want
			}
			if theirs != "" {
				want[manifest] = theirs
			}
			f.holds(t, want)
		})
	}
}

// swap puts another file under a name just before that is renamed.
type swap struct {
	share.Store
	swap func()
}

func (s *swap) Rename(ctx context.Context, from, to string) error {
	if s.swap != nil {
		s.swap()
		s.swap = nil
	}
	return s.Store.Rename(ctx, from, to)
}

func TestSetAsideIsWhatWasSeen(t *testing.T) {
	f := newFolder(t)
	f.write(t, output, "old")
	w := f.compose(t, "0123456789ab")
	store := &swap{f.store, func() { f.write(t, output, "put there in the last moment") }}
	if err := w.publish(t.Context(), store); job.CodeOf(err) != job.OutputExists {
		t.Errorf("got %v", err)
	}
	if err := w.finish(t.Context(), f.store, false); err != nil {
		t.Error(err)
	}
	f.holds(t, map[string]string{output: "put there in the last moment"})
}

// A replaced file cannot come back where somebody else has put one: both stay.
func TestBothStay(t *testing.T) {
	f := newFolder(t)
	f.write(t, output, "old")
	w := f.compose(t, "0123456789ab")
	store := &cut{Store: f.store}
	store.left.Store(4) // claimed, and set aside
	if err := w.publish(t.Context(), store); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	f.write(t, output, "theirs")
	err := w.finish(t.Context(), f.store, false)
	if job.CodeOf(err) != job.CleanupFailed || !strings.Contains(err.Error(), output) {
		t.Errorf("got %v", err)
	}
	found := slices.Sorted(maps.Values(f.files(t)))
	if !slices.Contains(found, "old") || !slices.Contains(found, "theirs") {
		t.Errorf("left %q", found)
	}
}
