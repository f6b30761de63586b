package vhd

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// crashImages are what TestCrash and TestWriteFails write, of about 5 MiB.
var crashImages = []struct {
	name  string
	syncs int
	write func(t testing.TB, f File) error
}{
	{"child", 3, func(t testing.TB, f File) error {
		ov := overlay.New(disktest.Zeros(16<<20, SectorSize))
		for _, off := range []int64{0, 9<<20 + 512} {
			if _, err := ov.WriteAt(disktest.Pattern(5000, 6), off); err != nil {
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
			if _, err := w.WriteAt(disktest.Pattern(700_000, 6), off); err != nil {
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
			var j disktest.Journal
			if err := image.write(t, &j); err != nil {
				t.Fatal(err)
			}
			if len(j.Synced) != image.syncs || j.Synced[image.syncs-1] != len(j.Writes) {
				t.Fatalf("syncs after writes %v of %d", j.Synced, len(j.Writes))
			}
			complete := j.File()
			dir := t.TempDir()
			path := filepath.Join(dir, "torn.vhd")
			create(t, filepath.Join(dir, "p.vhd"), make([]byte, 16<<20), Options{Type: Dynamic})
			check := func(file []byte, what string, i int) {
				t.Helper()
				size := int64(len(file))
				_, err := Open(bytes.NewReader(file), size)
				_, idErr := ReadIdentity(bytes.NewReader(file), size)
				whole := bytes.Equal(file, complete)
				for _, err := range []error{err, idErr} {
					if whole && err != nil || !whole && !errors.Is(err, ErrNotVHD) && !errors.Is(err, ErrCorrupt) {
						t.Errorf("%s %d (complete: %t): %v", what, i, whole, err)
					}
				}
				if i >= len(j.Writes)-4 {
					disktest.WriteFile(t, path, file)
					if accepted7zz(t, path) != whole {
						t.Errorf("%s %d (complete: %t): 7zz thinks otherwise", what, i, whole)
					}
				}
			}

			crashes := j.Crashes(check)
			t.Logf("%d writes, %d crashes", len(j.Writes), crashes)
		})
	}
}

// TestWriteFails has every write and every Sync fail in turn.
func TestWriteFails(t *testing.T) {
	broken := errors.New("broken")
	for _, image := range crashImages {
		for at := 1; ; at++ {
			n := 0
			f := disktest.File{Torn: 5, Fail: func() error {
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
			if f.Syncs == image.syncs {
				continue // the last Sync failed: all is written
			}
			if _, err := Open(bytes.NewReader(f.Data), int64(len(f.Data))); !errors.Is(err, ErrNotVHD) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: operation %d failed, Open says %v", image.name, at, err)
			}
		}
	}
}
