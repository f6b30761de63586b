package vhdx

import (
	"bytes"
	"errors"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

func crashOverlay(t testing.TB) (*overlay.Overlay, ChildOptions) {
	t.Helper()
	ov := overlay.New(disktest.Zeros(16<<20, 512))
	for _, off := range []int64{0, 9<<20 + 512} {
		if _, err := ov.WriteAt(disktest.Pattern(5000, 6), off); err != nil {
			t.Fatal(err)
		}
	}
	return ov, childOptions(parentInfo(16<<20, 512), "p.vhdx", 1<<20)
}

// TestCrash loses power after every write. What is left is no VHDX, or it is
// the whole file.
func TestCrash(t *testing.T) {
	ov, opt := crashOverlay(t)
	var j disktest.Journal
	if _, err := WriteChild(t.Context(), &j, ov, opt, nil); err != nil {
		t.Fatal(err)
	}
	if want := 4; len(j.Synced) != want || j.Synced[want-1] != len(j.Writes) {
		t.Fatalf("syncs after writes %v of %d", j.Synced, len(j.Writes))
	}
	complete := j.File()
	check := func(file []byte, what string, i int) {
		t.Helper()
		_, err := Open(bytes.NewReader(file), int64(len(file)))
		_, idErr := ReadIdentity(bytes.NewReader(file), int64(len(file)))
		if bytes.Equal(file, complete) {
			if err != nil || idErr != nil {
				t.Errorf("%s %d: complete, but %v, %v", what, i, err, idErr)
			}
			return
		}
		if !errors.Is(err, ErrNotVHDX) || !errors.Is(idErr, ErrNotVHDX) {
			t.Errorf("%s %d: Open says %v, ReadIdentity %v", what, i, err, idErr)
		}
	}

	crashes := j.Crashes(check)
	t.Logf("%d writes, %d crashes", len(j.Writes), crashes)
}

// TestWriteFails has every write and every Sync fail in turn.
func TestWriteFails(t *testing.T) {
	ov, opt := crashOverlay(t)
	broken := errors.New("broken")
	for at := 1; ; at++ {
		n := 0
		f := disktest.File{Torn: 5, Fail: func() error {
			if n++; n == at {
				return broken
			}
			return nil
		}}
		_, err := WriteChild(t.Context(), &f, ov, opt, nil)
		if err == nil {
			if n >= at {
				t.Errorf("operation %d failed unnoticed", at)
			}
			return
		}
		if !errors.Is(err, broken) {
			t.Fatalf("operation %d: %v", at, err)
		}
		if f.Syncs == 4 {
			continue // the last Sync failed: all is written
		}
		if _, err := Open(bytes.NewReader(f.Data), int64(len(f.Data))); !errors.Is(err, ErrNotVHDX) {
			t.Errorf("operation %d failed, Open says %v", at, err)
		}
	}
}

func TestParentReadFails(t *testing.T) {
	broken := errors.New("broken")
	base := brokenDisk{disktest.Zeros(16<<20, 512), broken}
	ov := overlay.New(base)
	// Zeros only: whether the block is zero throughout is for the base to say.
	if _, err := ov.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	f := disktest.File{Ordered: true}
	_, err := WriteChild(t.Context(), &f, ov, childOptions(parentInfo(16<<20, 512), "p.vhdx", 0), nil)
	if !errors.Is(err, broken) || len(f.Data) > 0 {
		t.Errorf("%v, %d bytes written", err, len(f.Data))
	}
}

type brokenDisk struct {
	disktest.ZeroDisk
	err error
}

func (d brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, d.err }
