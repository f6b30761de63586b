package vhd

import (
	"io"
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

func TestConcurrentReads(t *testing.T) {
	disktest.ConcurrentReads(t, openDisk(t, openBytes(t, smallChild(t)), disktest.Bytes(disktest.Pattern(8<<20, 8), SectorSize)))
}
