package vhdx

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// extentsOf gives the extents of a range, as far as there are any.
func extentsOf(d disk.Mapped, off, n int64) (extents []disk.Extent, err error) {
	for e, err := range d.Extents(off, n) {
		if err != nil {
			return extents, err
		}
		extents = append(extents, e)
	}
	return extents, nil
}

// checkExtents checks the shape of the extents of a range.
func checkExtents(t testing.TB, d disk.Mapped, off, n int64, sound bool) []disk.Extent {
	t.Helper()
	extents, err := extentsOf(d, off, n)
	if err != nil && (sound || !errors.Is(err, ErrCorrupt)) {
		t.Errorf("extents: %v", err)
	}
	pos := off
	for i, e := range extents {
		if e.Offset != pos || e.Length <= 0 || e.Length%int64(d.SectorSize()) != 0 || i > 0 && joins(extents[i-1], e) {
			t.Fatalf("extent %d is %+v, expected at %d", i, e, pos)
		}
		pos += e.Length
	}
	if err == nil && pos != off+n {
		t.Errorf("extents end at %d, expected %d", pos, off+n)
	}
	return extents
}

// readExtents reads a range by its extents: from the file, zeros, or from parent.
func readExtents(t testing.TB, d disk.Mapped, file, parent []byte, off, n int64) []byte {
	t.Helper()
	p := make([]byte, n)
	for _, e := range checkExtents(t, d, off, n, true) {
		q := p[e.Offset-off:][:e.Length]
		switch e.Kind {
		case disk.ExtentData:
			copy(q, file[e.FileOffset:])
		case disk.ExtentParent:
			copy(q, parent[e.Offset:])
		}
	}
	return p
}

// TestExtentsReadTheDisk reads a child and a dynamic image by their extents.
func TestExtentsReadTheDisk(t *testing.T) {
	base := disktest.Pattern(8<<20, 30)
	child := smallChild(t)
	windows, sector := disktest.Unpack(t, "ntfs-dynamic.vhdx"), int64(512)
	for _, c := range []struct {
		file, parent []byte
		d            disk.Disk
	}{
		{child, base, openDisk(t, openBytes(t, child), disktest.Bytes(base, 512))},
		{windows, nil, openDisk(t, openBytes(t, windows), nil)},
	} {
		d, want := c.d.(disk.Mapped), disktest.ReadAll(t, c.d)
		if !bytes.Equal(readExtents(t, d, c.file, c.parent, 0, d.Size()), want) {
			t.Error("the extents give another disk")
		}
		rng := rand.New(rand.NewPCG(3, 4))
		for range 300 {
			off := rng.Int64N(d.Size()/sector) * sector
			n := rng.Int64N((d.Size()-off)/sector) * sector
			if !bytes.Equal(readExtents(t, d, c.file, c.parent, off, n), want[off:off+n]) {
				t.Errorf("%d bytes at %d differ", n, off)
			}
		}
	}
}

// TestExtents pins the extents of every kind of block, and that neighbours are one.
func TestExtents(t *testing.T) {
	p := smallChild(t)
	// smallChild: bitmap at 4 MiB, blocks 0, 1, 2 at 5, 6, 7 MiB, block 5 at 8.
	setBAT(p, 6, uint64(blockUnmapped))
	setBAT(p, 7, uint64(blockUndefined))
	d := openDisk(t, openBytes(t, p), disktest.Bytes(make([]byte, 8<<20), 512)).(disk.Mapped)
	const page = 4096
	want := []disk.Extent{
		{Offset: 0, Length: page, Kind: disk.ExtentData, FileOffset: 5 << 20},
		{Offset: page, Length: 1<<20 - page, Kind: disk.ExtentParent},
		{Offset: 1 << 20, Length: 2 << 20, Kind: disk.ExtentData, FileOffset: 6 << 20},
		{Offset: 3 << 20, Length: 1 << 20, Kind: disk.ExtentZero},
		{Offset: 4 << 20, Length: 1 << 20, Kind: disk.ExtentParent},
		{Offset: 5 << 20, Length: 18 * page, Kind: disk.ExtentData, FileOffset: 8 << 20},
		{Offset: 5<<20 + 18*page, Length: 1<<20 - 18*page, Kind: disk.ExtentParent},
		{Offset: 6 << 20, Length: 2 << 20, Kind: disk.ExtentZero},
	}
	if got := checkExtents(t, d, 0, d.Size(), true); !slices.Equal(got, want) {
		t.Errorf("extents\n%+v\nwant\n%+v", got, want)
	}
	if got, want := checkExtents(t, d, 512, 512, true), []disk.Extent{{Offset: 512, Length: 512, FileOffset: 5<<20 + 512}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := checkExtents(t, d, d.Size(), 0, true); got != nil {
		t.Errorf("extents of nothing: %+v", got)
	}
	for e := range d.Extents(0, d.Size()) {
		if e.Offset > 0 {
			t.Error("goes on after break")
		}
		break
	}
	for _, r := range [][2]int64{{-512, 512}, {0, d.Size() + 512}, {d.Size() + 512, 0}, {100, 512}, {0, 100}, {0, -512}} {
		if extents, err := extentsOf(d, r[0], r[1]); err == nil || extents != nil {
			t.Errorf("%d bytes at %d: %+v", r[1], r[0], extents)
		}
	}

	// What comes before a bad entry is given, then its error.
	setBAT(p, 2, 4)
	d = openDisk(t, openBytes(t, p), disktest.Bytes(make([]byte, 8<<20), 512)).(disk.Mapped)
	got, err := extentsOf(d, 0, d.Size())
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "offset 0x300010") || len(got) != 3 || got[2].Length != 1<<20 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestExtentsOfNothing goes through a disk of 64 TiB that has no blocks.
func TestExtentsOfNothing(t *testing.T) {
	info := parentInfo(maxVirtualSize, 4096)
	info.BlockSize = 32 << 20
	for typ, kind := range map[Type]disk.ExtentKind{Dynamic: disk.ExtentZero, Differencing: disk.ExtentParent} {
		info.Type = typ
		im, err := Open(sparseFile(t, info, 64<<20), 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		var parent disk.Disk
		if typ == Differencing {
			parent = disktest.Zeros(maxVirtualSize, 4096)
		}
		d := openDisk(t, im, parent).(disk.Mapped)
		if got := checkExtents(t, d, 0, maxVirtualSize, true); len(got) != 1 || got[0].Kind != kind {
			t.Errorf("%s: %+v", typ, got)
		}
	}
}

// TestExtentsOfBitmaps compares the runs of random bitmaps with their bits.
func TestExtentsOfBitmaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			base := make([]byte, 8<<20)
			disktest.Fill(base, 0, len(base), 31)
			ov := overlay.New(disktest.Bytes(base, sector))
			if _, err := ov.WriteAt(disktest.Pattern(7<<20, 32), 4096); err != nil {
				t.Fatal(err)
			}
			if _, err := ov.WriteAt(base[3<<20:][:4096], 3<<20); err != nil {
				t.Fatal(err)
			}
			if err := ov.DropUnchanged(); err != nil {
				t.Fatal(err)
			}
			p := writeChild(t, ov, childOptions(parentInfo(8<<20, sector), "p.vhdx", 8<<20))
			bitmap := p[getBAT(p, 0)-mib-7:][:8<<20/sector/8] // the bitmap block comes before the only block
			for i := range bitmap {
				if bitmap[i] = byte(rng.Uint32()); i/40%2 == 0 {
					bitmap[i] = []byte{0, 0xff}[i/80%2]
				}
			}
			d := openDisk(t, openBytes(t, p), disktest.Bytes(base, sector)).(disk.Mapped)
			want := disktest.ReadAll(t, d)
			for i := range want {
				s := i / sector
				from := base[i]
				if bitmap[s/8]&(1<<(s%8)) != 0 {
					from = p[getBAT(p, 0)-7:][i]
				}
				if want[i] != from {
					t.Fatalf("byte %d is not from where its bit says", i)
				}
			}
			if !bytes.Equal(readExtents(t, d, p, base, 0, d.Size()), want) {
				t.Error("the extents give another disk")
			}
		})
	}
}
