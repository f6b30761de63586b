package vhdx

import (
	"bytes"
	"errors"
	"testing"

	"imageport/testkit/disktest"
)

// writeSmall is an image of three blocks for crash tests.
func writeSmall(w *Writer) error {
	for _, off := range []int64{3 << 20, 0, 3<<20 + 5000, 7 << 20} {
		if _, err := w.WriteAt(disktest.Pattern(6000, uint64(off)), off); err != nil {
			return err
		}
	}
	_, err := w.Finish()
	return err
}

func smallOptions(typ Type) Options {
	opt := createOptions(typ, 8<<20)
	opt.BlockSize = 1 << 20
	return opt
}

// TestCreateCrash loses power after every write, like TestCrash.
func TestCreateCrash(t *testing.T) {
	for _, typ := range []Type{Fixed, Dynamic} {
		var j disktest.Journal
		if err := writeSmall(create(t, &j, smallOptions(typ))); err != nil {
			t.Fatal(err)
		}
		if want := 4; len(j.Synced) != want || j.Synced[want-1] != len(j.Writes) {
			t.Fatalf("syncs after writes %v of %d", j.Synced, len(j.Writes))
		}
		complete := j.File()
		if found := problems(t, openBytes(t, complete)); found != nil {
			t.Errorf("Check finds %v", found)
		}
		check := func(file []byte, what string, i int) {
			t.Helper()
			_, err := Open(bytes.NewReader(file), int64(len(file)))
			if bytes.Equal(file, complete) {
				if err != nil {
					t.Errorf("%s %d: complete, but %v", what, i, err)
				}
			} else if !errors.Is(err, ErrNotVHDX) {
				t.Errorf("%s %d: Open says %v", what, i, err)
			}
		}
		j.Crashes(check)
	}
}

// failingFile fails at one of its operations.
type failingFile struct {
	disktest.Journal
	n, at int
}

var errBroken = errors.New("broken")

func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if f.n++; f.n == f.at {
		n, _ := f.Journal.WriteAt(p[:len(p)/2], off)
		return n, errBroken
	}
	return f.Journal.WriteAt(p, off)
}

func (f *failingFile) Sync() error {
	if f.n++; f.n == f.at {
		return errBroken
	}
	return f.Journal.Sync()
}

// TestCreateFails has every write and every Sync fail in turn. What fails once
// does not become an image any more.
func TestCreateFails(t *testing.T) {
	for at := 1; ; at++ {
		f := failingFile{at: at}
		w := create(t, &f, smallOptions(Dynamic))
		err := writeSmall(w)
		if err == nil {
			if f.n >= at {
				t.Errorf("operation %d failed unnoticed", at)
			}
			return
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("operation %d: %v", at, err)
		}
		_, writeErr := w.WriteAt([]byte{1}, 0)
		_, finishErr := w.Finish()
		if writeErr == nil || finishErr == nil {
			t.Errorf("operation %d: goes on, %v, %v", at, writeErr, finishErr)
		}
		if len(f.Synced) == 3 && bytes.HasPrefix(f.Writes[len(f.Writes)-1].Data, []byte(fileSignature)) {
			continue // the last Sync failed: all is written
		}
		file := f.File()
		if _, err := Open(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrNotVHDX) {
			t.Errorf("operation %d failed, Open says %v", at, err)
		}
	}
}

// TestStatesWithoutParent reads every state of blocks of an image that has no
// parent: what has no data is zeros.
func TestStatesWithoutParent(t *testing.T) {
	for _, typ := range []Type{Fixed, Dynamic} {
		for _, state := range []blockState{blockNotPresent, blockUndefined, blockZero, blockUnmapped, blockFullyPresent, 4, 5, blockPartiallyPresent} {
			var j disktest.Journal
			if err := writeSmall(create(t, &j, smallOptions(typ))); err != nil {
				t.Fatal(err)
			}
			file := j.File()
			setBAT(file, 3, getBAT(file, 3)&^7|uint64(state)) // keeps its offset
			im := openBytes(t, file)
			got := make([]byte, 6000)
			_, err := openDisk(t, im, nil).ReadAt(got, 3<<20)
			switch state {
			case 4, 5, blockPartiallyPresent:
				if !errors.Is(err, ErrCorrupt) || len(problems(t, im)) != 1 {
					t.Errorf("%s, state %d: %v", typ, state, err)
				}
			default:
				if err != nil || len(problems(t, im)) != 0 || isZero(got) != (state != blockFullyPresent) {
					t.Errorf("%s, state %d: %v, or wrong data", typ, state, err)
				}
			}
		}
	}
}
