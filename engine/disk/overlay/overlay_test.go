package overlay_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"imageport/engine/disk/overlay"
)

// memDisk is an immutable base.
type memDisk struct {
	*bytes.Reader
	sector int
}

func (d memDisk) SectorSize() int { return d.sector }

func newBase(size int, seed uint64) (memDisk, []byte) {
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	rng.Read(data)
	return memDisk{bytes.NewReader(data), 512}, data
}

// TestAgainstModel writes and reads random ranges and compares with a plain
// byte slice, on disks that do and do not end on a page boundary.
func TestAgainstModel(t *testing.T) {
	for _, size := range []int{512, overlay.PageSize, 1 << 20, 1<<20 + 512, 3*overlay.PageSize - 512} {
		base, original := newBase(size, 1)
		model := bytes.Clone(original)
		o := overlay.New(base)
		rng := rand.New(rand.NewPCG(uint64(size), 2))
		for range 400 {
			off := rng.IntN(size)
			n := rng.IntN(min(size-off, 20000) + 1)
			switch rng.IntN(4) {
			case 0: // writes what is there already
				if _, err := o.WriteAt(model[off:off+n], int64(off)); err != nil {
					t.Fatal(err)
				}
			case 1: // puts the base's bytes back
				if _, err := o.WriteAt(original[off:off+n], int64(off)); err != nil {
					t.Fatal(err)
				}
				copy(model[off:], original[off:off+n])
			case 2:
				for i := off; i < off+n; i++ {
					model[i] = byte(rng.Uint32())
				}
				if got, err := o.WriteAt(model[off:off+n], int64(off)); err != nil || got != n {
					t.Fatalf("WriteAt = %d, %v", got, err)
				}
			case 3:
				got := make([]byte, n)
				if m, err := o.ReadAt(got, int64(off)); m != n || (err != nil && err != io.EOF) {
					t.Fatalf("ReadAt = %d, %v", m, err)
				}
				if !bytes.Equal(got, model[off:off+n]) {
					t.Fatalf("size %d: read of %d at %d differs", size, n, off)
				}
			}
		}
		check := func(when string) {
			got, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
			if err != nil || !bytes.Equal(got, model) {
				t.Fatalf("size %d, %s: whole disk differs (%v)", size, when, err)
			}
		}
		check("before DropUnchanged")
		if err := o.DropUnchanged(); err != nil {
			t.Fatal(err)
		}
		check("after DropUnchanged")

		// Pages are exactly the pages that differ, ascending.
		var want, got []int64
		var dirty int64
		for off := 0; off < size; off += overlay.PageSize {
			end := min(off+overlay.PageSize, size)
			if !bytes.Equal(model[off:end], original[off:end]) {
				want = append(want, int64(off))
				dirty += int64(end - off)
			}
		}
		for page := range o.Pages() {
			got = append(got, page.Offset)
			if !bytes.Equal(page.Data, model[page.Offset:min(int(page.Offset)+overlay.PageSize, size)]) {
				t.Fatalf("page at %d has other bytes", page.Offset)
			}
		}
		if !slices.Equal(got, want) || o.DirtyBytes() != dirty {
			t.Fatalf("size %d: pages %v (%d bytes), want %v (%d bytes)", size, got, o.DirtyBytes(), want, dirty)
		}
	}
}

// TestDropUnchangedAcrossRuns has more adjacent pages than one read of the base takes.
func TestDropUnchangedAcrossRuns(t *testing.T) {
	base, data := newBase(5<<20, 3)
	o := overlay.New(base)
	if _, err := o.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.WriteAt([]byte{^data[3<<20]}, 3<<20); err != nil {
		t.Fatal(err)
	}
	if err := o.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	if got := o.DirtyBytes(); got != overlay.PageSize {
		t.Fatalf("dirty %d bytes, want one page", got)
	}
}

func TestBounds(t *testing.T) {
	base, data := newBase(8192+512, 4)
	o := overlay.New(base)
	for _, w := range []struct{ off, n int64 }{{-1, 1}, {8704, 1}, {8703, 2}, {0, 8705}, {1 << 62, 1 << 10}} {
		if n, err := o.WriteAt(make([]byte, w.n), w.off); n != 0 || !errors.Is(err, overlay.ErrOutOfRange) {
			t.Errorf("WriteAt(%d bytes, %d) = %d, %v", w.n, w.off, n, err)
		}
	}
	if o.DirtyBytes() != 0 {
		t.Errorf("refused writes left %d dirty bytes", o.DirtyBytes())
	}
	if n, err := o.WriteAt(nil, o.Size()); n != 0 || err != nil {
		t.Errorf("empty write at the end = %d, %v", n, err)
	}
	p := make([]byte, 100)
	if n, err := o.ReadAt(p, o.Size()-10); n != 10 || err != io.EOF || !bytes.Equal(p[:n], data[len(data)-10:]) {
		t.Errorf("read across the end = %d, %v", n, err)
	}
	if n, err := o.ReadAt(p, o.Size()); n != 0 || err != io.EOF {
		t.Errorf("read at the end = %d, %v", n, err)
	}
	if _, err := o.ReadAt(p, -1); err == nil || err == io.EOF {
		t.Errorf("read at -1: %v", err)
	}
}

type failingDisk struct{ memDisk }

func (failingDisk) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

func TestBaseFails(t *testing.T) {
	base, _ := newBase(1<<20, 5)
	o := overlay.New(failingDisk{base})
	page := bytes.Repeat([]byte{7}, overlay.PageSize)
	if _, err := o.WriteAt(page, 4096); err != nil {
		t.Fatalf("a whole page needs no base: %v", err)
	}
	// The second page is partial, so it needs the base: the first one counts.
	if n, err := o.WriteAt(append(page, 1), 8192); n != overlay.PageSize || !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if n, err := o.ReadAt(make([]byte, 3*4096), 4096); n != 8192 || !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if err := o.DropUnchanged(); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("DropUnchanged: %v", err)
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	base, _ := newBase(1<<20, 6)
	o := overlay.New(base)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			p := make([]byte, 10000)
			for i := range 200 {
				off := int64(i*4999+g*1000) % (1<<20 - 10000)
				if g == 0 {
					o.WriteAt(p, off)
				} else {
					o.ReadAt(p, off)
					o.DirtyBytes()
				}
			}
		})
	}
	wg.Wait()
}
