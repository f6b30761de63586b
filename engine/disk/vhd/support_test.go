package vhd

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

var (
	testParent = uuid.MustParse("11111111-2222-3333-4444-555566667777")
	testChild  = uuid.MustParse("00010203-0405-4607-8809-0a0b0c0d0e0f")
	testTime   = time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)
)

func openBytes(t testing.TB, p []byte) *Image {
	t.Helper()
	im, err := Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func openPath(t testing.TB, path string) *Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	noProblems(t, im)
	return im
}

func openDisk(t testing.TB, im *Image, parent disk.Disk) disk.Mapped {
	t.Helper()
	d, err := im.Disk(parent)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// accepted7zz tells whether 7-Zip takes a file for a whole VHD.
func accepted7zz(t testing.TB, path string) bool {
	t.Helper()
	out, err := exec.Command("7zz", "l", "-tvhd", path).CombinedOutput()
	if _, refused := err.(*exec.ExitError); err != nil && !refused {
		t.Fatal(err)
	}
	return err == nil && !bytes.Contains(out, []byte("WARNING")) && !bytes.Contains(out, []byte("ERROR"))
}

// parentInfo describes a parent that no file stands for.
func parentInfo(size int64) Info {
	return Info{Type: Dynamic, VirtualSize: size, CurrentSize: size, BlockSize: 2 << 20, UniqueID: testParent}
}

func childOptions(parent Info, parentName string, blockSize uint32) ChildOptions {
	return ChildOptions{
		Parent:         parent,
		ParentRelative: `.\` + parentName,
		ParentAbsolute: `\\host\share\images\` + parentName,
		BlockSize:      blockSize,
		UniqueID:       testChild,
		Timestamp:      testTime,
	}
}

// writeChild writes a child in memory and checks what is reported.
func writeChild(t testing.TB, ov *overlay.Overlay, opt ChildOptions) []byte {
	t.Helper()
	f := disktest.File{Ordered: true}
	var last, total int64
	size, err := WriteChild(t.Context(), &f, ov, opt, func(d, n int64) {
		if d <= last || d > n {
			t.Errorf("progress went from %d to %d of %d", last, d, n)
		}
		last, total = d, n
	})
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(f.Data)) {
		t.Fatalf("reported %d bytes, wrote %d", size, len(f.Data))
	}
	if last != total {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	return f.Data
}

// naive is a second reader, as simple as can be and written apart from the
// product's: it takes a file of ours and the disk below it.
func naive(t testing.TB, p, parent []byte) []byte {
	t.Helper()
	u32 := func(at int) int { return int(p[at])<<24 | int(p[at+1])<<16 | int(p[at+2])<<8 | int(p[at+3]) }
	foot := len(p) - 512
	size := u32(foot+48)<<32 | u32(foot+52)
	if u32(foot+60) == 2 {
		return p[:size]
	}
	out := make([]byte, size)
	copy(out, parent)
	bat, blockSize := u32(512+20), u32(512+32)
	bitmapSize := blockSize / 512 / 8
	if bitmapSize < 512 {
		bitmapSize = 512
	}
	for sector := 0; sector < size/512; sector++ {
		entry := u32(bat + sector*512/blockSize*4)
		if entry == 0xffffffff {
			continue
		}
		inBlock := sector % (blockSize / 512)
		if bit := p[entry*512+inBlock/8] << (inBlock % 8); bit >= 0x80 {
			copy(out[sector*512:][:512], p[entry*512+bitmapSize+inBlock*512:])
		}
	}
	return out
}

// checkExtents verifies what Extents promises: order, no gaps, and that reading
// the file and the parent by it gives the disk.
func checkExtents(t testing.TB, d disk.Mapped, file, parent io.ReaderAt, off, n int64) []disk.Extent {
	t.Helper()
	var all []disk.Extent
	pos := off
	for e, err := range d.Extents(off, n) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Offset != pos || e.Length <= 0 || e.Length%SectorSize != 0 || e.Layer != 0 {
			t.Fatalf("extent %+v at %d", e, pos)
		}
		if len(all) > 0 && continues(all[len(all)-1], e) {
			t.Fatalf("%+v and %+v are one", all[len(all)-1], e)
		}
		all = append(all, e)
		pos += e.Length
		if file == nil {
			continue
		}
		got, want := make([]byte, e.Length), make([]byte, e.Length)
		if _, err := d.ReadAt(want, e.Offset); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		switch e.Kind {
		case disk.ExtentData:
			_, err = file.ReadAt(got, e.FileOffset)
		case disk.ExtentParent:
			_, err = parent.ReadAt(got, e.Offset)
		}
		if err != nil && err != io.EOF || !bytes.Equal(got, want) {
			t.Fatalf("%+v has other bytes (%v)", e, err)
		}
	}
	if pos != off+n {
		t.Fatalf("extents end at %d of %d", pos, off+n)
	}
	return all
}
