package vhd

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"imageport/engine/disk/overlay"
)

// journal is a File that remembers its writes and where the syncs were.
type journal struct {
	writes []journalWrite
	synced []int // number of writes before each Sync
}

type journalWrite struct {
	off  int64
	data []byte
}

func (j *journal) WriteAt(p []byte, off int64) (int, error) {
	j.writes = append(j.writes, journalWrite{off, bytes.Clone(p)})
	return len(p), nil
}

func (j *journal) Sync() error {
	j.synced = append(j.synced, len(j.writes))
	return nil
}

// apply is what is there after some writes.
func apply(file []byte, writes ...journalWrite) []byte {
	for _, w := range writes {
		if end := int(w.off) + len(w.data); end > len(file) {
			file = append(file, make([]byte, end-len(file))...)
		}
		copy(file[w.off:], w.data)
	}
	return file
}

// crashImages are what TestCrash and TestWriteFails write, of about 5 MiB.
var crashImages = []struct {
	name  string
	syncs int
	write func(t testing.TB, f File) error
}{
	{"child", 3, func(t testing.TB, f File) error {
		ov := overlay.New(sparseDisk{16 << 20, SectorSize})
		for _, off := range []int64{0, 9<<20 + 512} {
			if _, err := ov.WriteAt(pattern(5000, 6), off); err != nil {
				t.Fatal(err)
			}
		}
		_, err := WriteChild(t.Context(), f, ov, childOptions(parentInfo(16<<20), "p.vhd", 2<<20), nil)
		return err
	}},
	{"dynamic", 3, crashCreate(Dynamic)},
	{"fixed", 2, crashCreate(Fixed)},
}

func crashCreate(typ Type) func(t testing.TB, f File) error {
	return func(t testing.TB, f File) error {
		w, err := Create(f, Options{Type: typ, SizeBytes: 5 << 20, UniqueID: testParent, Timestamp: testTime})
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range []int64{4 << 20, 0, 5<<20 - 700_000} {
			if _, err := w.WriteAt(pattern(700_000, 6), off); err != nil {
				return err
			}
		}
		_, err = w.Finish()
		return err
	}
}

// TestCrash loses power after every write: in order and with the write torn,
// with any one of the writes since the last Sync on the disk alone, and with
// any one of them missing. What is left is refused, or it is the whole file.
func TestCrash(t *testing.T) {
	for _, image := range crashImages {
		t.Run(image.name, func(t *testing.T) {
			var j journal
			if err := image.write(t, &j); err != nil {
				t.Fatal(err)
			}
			if len(j.synced) != image.syncs || j.synced[image.syncs-1] != len(j.writes) {
				t.Fatalf("syncs after writes %v of %d", j.synced, len(j.writes))
			}
			complete := apply(nil, j.writes...)
			dir := t.TempDir()
			path := filepath.Join(dir, "torn.vhd")
			create(t, filepath.Join(dir, "p.vhd"), make([]byte, 16<<20), Options{Type: Dynamic})
			cases := 0
			check := func(file []byte, what string, i int) {
				t.Helper()
				cases++
				size := int64(len(file))
				_, err := Open(bytes.NewReader(file), size)
				_, idErr := ReadIdentity(bytes.NewReader(file), size)
				whole := bytes.Equal(file, complete)
				for _, err := range []error{err, idErr} {
					if whole && err != nil || !whole && !errors.Is(err, ErrNotVHD) && !errors.Is(err, ErrCorrupt) {
						t.Errorf("%s %d (complete: %t): %v", what, i, whole, err)
					}
				}
				if i >= len(j.writes)-4 {
					writeFile(t, path, file)
					if accepted7zz(t, path) != whole {
						t.Errorf("%s %d (complete: %t): 7zz thinks otherwise", what, i, whole)
					}
				}
			}

			var before, stable []byte // all writes so far; those that were synced
			syncs, since := j.synced, 0
			for i, w := range j.writes {
				for len(syncs) > 0 && syncs[0] == i {
					stable, syncs, since = bytes.Clone(before), syncs[1:], i
				}
				for _, n := range []int{0, 1, 511, len(w.data) / 2, len(w.data) - 1} {
					n = min(n, len(w.data)-1)
					check(apply(bytes.Clone(before), journalWrite{w.off, w.data[:n]}), "torn write", i)
				}
				check(apply(bytes.Clone(stable), w), "lone write", i)
				before = apply(before, w)
				check(before, "write", i)
				for missing := since; missing < i; missing++ {
					file := apply(bytes.Clone(stable), j.writes[since:missing]...)
					check(apply(file, j.writes[missing+1:i+1]...), "all but one up to write", i)
				}
			}
			t.Logf("%d writes, %d crashes", len(j.writes), cases)
		})
	}
}

// TestWriteFails has every write and every Sync fail in turn.
func TestWriteFails(t *testing.T) {
	broken := errors.New("broken")
	for _, image := range crashImages {
		for at := 1; ; at++ {
			n := 0
			f := memFile{torn: 5, fail: func() error {
				if n++; n == at {
					return broken
				}
				return nil
			}}
			err := image.write(t, &f)
			if err == nil {
				if n >= at {
					t.Errorf("%s: operation %d failed unnoticed", image.name, at)
				}
				break
			}
			if !errors.Is(err, broken) {
				t.Fatalf("%s: operation %d: %v", image.name, at, err)
			}
			if f.syncs == image.syncs {
				continue // the last Sync failed: all is written
			}
			if _, err := Open(bytes.NewReader(f.data), int64(len(f.data))); !errors.Is(err, ErrNotVHD) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: operation %d failed, Open says %v", image.name, at, err)
			}
		}
	}
}
