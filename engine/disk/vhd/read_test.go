package vhd

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"imageport/testkit/disktest"
)

func TestReadBounds(t *testing.T) {
	for _, name := range []string{"ntfs-fixed.vhd", "ntfs-dynamic.vhd"} {
		d := openDisk(t, openBytes(t, disktest.Unpack(t, name)), nil)
		p := make([]byte, 1024)
		if n, err := d.ReadAt(p, d.Size()-512); n != 512 || err != io.EOF {
			t.Errorf("across the end: %d, %v", n, err)
		}
		if n, err := d.ReadAt(p, d.Size()); n != 0 || err != io.EOF {
			t.Errorf("at the end: %d, %v", n, err)
		}
		if n, err := d.ReadAt(p, -1); n != 0 || err == nil || err == io.EOF {
			t.Errorf("at -1: %d, %v", n, err)
		}
		for _, c := range []struct{ off, n int64 }{{-512, 512}, {0, -512}, {1, 512}, {0, 100}, {d.Size(), 512}, {512, d.Size()}, {0, 1 << 62}} {
			for e, err := range d.Extents(c.off, c.n) {
				if err == nil {
					t.Errorf("extents of %d at %d: %+v", c.n, c.off, e)
				}
			}
		}
	}
}

// TestConcurrentReads is for the race detector, and for what is kept between reads.
func TestConcurrentReads(t *testing.T) {
	parent := disktest.Bytes(disktest.Pattern(8<<20, 8), SectorSize)
	d := openDisk(t, openBytes(t, smallChild(t)), parent)
	want := disktest.ReadAll(t, d)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			p := make([]byte, 3000)
			for i := range 500 {
				off := (int64(i)*7919 + int64(g)*5<<20) % (8<<20 - 3000)
				if _, err := d.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+3000]) {
					t.Errorf("read at %d differs (%v)", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
