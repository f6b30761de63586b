package vhdx

import (
	"bytes"
	"errors"
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

// file is what is there after some writes.
func apply(file []byte, writes ...journalWrite) []byte {
	for _, w := range writes {
		if end := int(w.off) + len(w.data); end > len(file) {
			file = append(file, make([]byte, end-len(file))...)
		}
		copy(file[w.off:], w.data)
	}
	return file
}

func crashOverlay(t testing.TB) (*overlay.Overlay, ChildOptions) {
	t.Helper()
	ov := overlay.New(sparseDisk{16 << 20, 512})
	for _, off := range []int64{0, 9<<20 + 512} {
		if _, err := ov.WriteAt(pattern(5000, 6), off); err != nil {
			t.Fatal(err)
		}
	}
	return ov, childOptions(parentInfo(16<<20, 512), "p.vhdx", 1<<20)
}

// TestCrash loses power after every write: in order and with the write torn,
// and with any one of the writes since the last Sync on the disk alone. What
// is left is no VHDX, or it is the whole file.
func TestCrash(t *testing.T) {
	ov, opt := crashOverlay(t)
	var j journal
	if _, err := WriteChild(t.Context(), &j, ov, opt, nil); err != nil {
		t.Fatal(err)
	}
	if want := 4; len(j.synced) != want || j.synced[want-1] != len(j.writes) {
		t.Fatalf("syncs after writes %v of %d", j.synced, len(j.writes))
	}
	complete := apply(nil, j.writes...)
	cases := 0
	check := func(file []byte, what string, i int) {
		t.Helper()
		cases++
		_, err := Open(bytes.NewReader(file), int64(len(file)))
		_, idErr := ReadIdentity(bytes.NewReader(file))
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

	var before, stable []byte // all writes so far; those that were synced
	syncs := j.synced
	for i, w := range j.writes {
		for syncs[0] == i {
			stable, syncs = bytes.Clone(before), syncs[1:]
		}
		for _, n := range []int{0, 1, len(w.data) / 2, len(w.data) - 1} {
			check(apply(bytes.Clone(before), journalWrite{w.off, w.data[:n]}), "torn write", i)
		}
		check(apply(bytes.Clone(stable), w), "lone write", i)
		before = apply(before, w)
		check(before, "write", i)
	}
	t.Logf("%d writes, %d crashes", len(j.writes), cases)
}

// TestWriteFails has every write and every Sync fail in turn.
func TestWriteFails(t *testing.T) {
	ov, opt := crashOverlay(t)
	broken := errors.New("broken")
	for at := 1; ; at++ {
		n := 0
		f := memFile{torn: 5, fail: func() error {
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
		if f.syncs == 4 {
			continue // the last Sync failed: all is written
		}
		if _, err := Open(bytes.NewReader(f.data), int64(len(f.data))); !errors.Is(err, ErrNotVHDX) {
			t.Errorf("operation %d failed, Open says %v", at, err)
		}
	}
}

func TestParentReadFails(t *testing.T) {
	broken := errors.New("broken")
	base := brokenDisk{sparseDisk{16 << 20, 512}, broken}
	ov := overlay.New(base)
	// Zeros only: whether the block is zero throughout is for the base to say.
	if _, err := ov.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	var f memFile
	_, err := WriteChild(t.Context(), &f, ov, childOptions(parentInfo(16<<20, 512), "p.vhdx", 0), nil)
	if !errors.Is(err, broken) || len(f.data) > 0 {
		t.Errorf("%v, %d bytes written", err, len(f.data))
	}
}

type brokenDisk struct {
	sparseDisk
	err error
}

func (d brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, d.err }
