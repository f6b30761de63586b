package vhd

import (
	"errors"
	"io"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// FuzzOpen changes a valid child in a few places: each edit is a target, an
// offset in it (2 bytes), a length and that many bytes. With reseal, checksums
// are made right again, so that what lies behind them is reached.
func FuzzOpen(f *testing.F) {
	valid := smallChild(f)
	size := int64(len(valid))
	targets := []int64{0, headerOffset, childAbsoluteOffset, childTableOffset, 12288, 81408, size - footerSize}
	f.Add([]byte{}, true, size)
	f.Add([]byte{6, 60, 0, 4, 0, 0, 0, 3, 0, 60, 0, 4, 0, 0, 0, 3}, true, size)                                                      // dynamic
	f.Add([]byte{6, 60, 0, 4, 0, 0, 0, 2}, true, size)                                                                               // fixed
	f.Add([]byte{6, 48, 0, 8, 0, 0, 1, 253, 0, 0, 0, 0, 1, 28, 0, 4, 0, 16, 0, 0}, true, size)                                       // 2036 GiB
	f.Add([]byte{6, 28, 0, 4, 'v', 'p', 'c', ' ', 6, 56, 0, 4, 0, 100, 4, 17}, true, size)                                           // geometry
	f.Add([]byte{1, 32, 0, 4, 0, 8, 0, 0}, true, size)                                                                               // blocks of 512 KiB
	f.Add([]byte{1, 16, 0, 8, 0, 0, 0, 0, 0, 0, 6, 0}, true, size)                                                                   // BAT elsewhere
	f.Add([]byte{1, 72, 2, 16, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0}, true, size)                                          // locator
	f.Add([]byte{3, 0, 0, 8, 0, 0, 0, 160, 0, 0, 0, 161, 5, 0, 0, 4, 1, 2, 3, 255}, false, size)                                     // BAT, bitmap
	f.Add([]byte{0, 0, 0, 0}, false, size-footerSize)                                                                                // the copy only
	f.Add([]byte{6, 0, 0, 8, 'c', 'o', 'n', 'e', 'c', 't', 'i', 'y', 1, 0, 0, 8, 'c', 'x', 's', 'p', 'a', 'r', 's', 0}, false, size) // cookies
	f.Fuzz(func(t *testing.T, edits []byte, reseal bool, size int64) {
		file := overlay.New(disktest.Bytes(valid, SectorSize))
		for len(edits) >= 4 {
			off := targets[int(edits[0])%len(targets)] + int64(edits[1]) + int64(edits[2])<<8
			n := min(int(edits[3]), len(edits)-4)
			if _, err := file.WriteAt(edits[4:4+n], off); err != nil {
				return
			}
			edits = edits[4+n:]
		}
		if reseal {
			for _, s := range []struct {
				off   int64
				size  int
				field int
			}{{0, footerSize, footerChecksum}, {headerOffset, headerSize, headerChecksum}, {file.Size() - footerSize, footerSize, footerChecksum}} {
				p := make([]byte, s.size)
				file.ReadAt(p, s.off)
				file.WriteAt(be.AppendUint32(nil, checksum(p, s.field)), s.off+int64(s.field))
			}
		}
		size = min(max(size, 0), file.Size())
		tryImage(t, io.NewSectionReader(file, 0, size), size)
	})
}

// FuzzFile opens any bytes.
func FuzzFile(f *testing.F) {
	f.Add(disktest.Unpack(f, "win8.vhd"))
	f.Add(disktest.Unpack(f, "qemu.vhd"))
	f.Add(newFooter(typeFixed, 512, testParent, 0).encode())
	f.Add(append(make([]byte, 512), newFooter(typeFixed, 512, testParent, 0).encode()...))
	f.Fuzz(func(t *testing.T, p []byte) {
		tryImage(t, disktest.Bytes(p, SectorSize), int64(len(p)))
	})
}

// tryImage opens an image and reads here and there: without panics, with
// errors of ours only, and the same whether by ReadAt or by Extents.
func tryImage(t *testing.T, r io.ReaderAt, size int64) {
	t.Helper()
	ours := func(err error) bool {
		return errors.Is(err, ErrNotVHD) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnsupported)
	}
	im, err := Open(r, size)
	_, idErr := ReadIdentity(r, size)
	if err != nil {
		if !ours(err) {
			t.Errorf("not one of ours: %v", err)
		}
		return
	}
	if idErr != nil {
		t.Errorf("opens, but ReadIdentity says %v", idErr)
	}
	info := im.Info()
	checked := false
	if info.VirtualSize < 1<<36 { // a BAT of 4 GiB takes a file of 4 GiB, and its time
		checked = true
		for _, p := range problems(t, im) {
			if !ours(&p) {
				t.Errorf("not one of ours: %v", &p)
			}
			checked = checked && p.Readable
		}
	}
	var parent disk.Disk
	if info.Type == Differencing {
		parent = disktest.Zeros(info.VirtualSize, SectorSize)
	}
	d, err := im.Disk(parent)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 70000)
	for _, off := range []int64{0, mib - 100, 5 * mib, d.Size() - int64(len(p)), d.Size() / 2} {
		if off < 0 {
			continue
		}
		if _, err := d.ReadAt(p, off); err != nil && err != io.EOF && (checked || !ours(err)) {
			t.Errorf("reading at %#x: %v", off, err)
		}
	}
	if n := min(d.Size(), 64<<20); checked {
		checkExtents(t, d, nil, nil, 0, n)
	}
}
