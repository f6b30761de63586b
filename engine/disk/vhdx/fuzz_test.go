package vhdx

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// fuzzTargets are the places that FuzzOpen changes.
var fuzzTargets = []int64{
	0, header1Offset, header2Offset, regionTable1Offset, regionTable2Offset,
	layoutMetadataOffset, layoutMetadataOffset + metadataTableSize, layoutBATOffset,
	layoutBATOffset + 8*4096, 4 * mib,
}

// FuzzOpen changes a valid child in a few places: each edit is a target, an
// offset in it (2 bytes), a length and that many bytes. With reseal, checksums
// are made right again, so that what lies behind them is reached.
func FuzzOpen(f *testing.F) {
	valid := smallChild(f)
	f.Add([]byte{}, true, int64(len(valid)))
	f.Add([]byte{1, 48, 0, 1, 7}, true, int64(len(valid)))                                       // dirty log
	f.Add([]byte{3, 24, 0, 4, 0, 0, 240, 255, 4, 24, 0, 4, 0, 0, 240, 255}, true, int64(5<<20))  // BAT of 4 GiB
	f.Add([]byte{6, 8, 0, 8, 0, 0, 0, 0, 0, 64, 0, 0}, true, int64(len(valid)))                  // 64 TiB
	f.Add([]byte{6, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0, 0}, true, int64(len(valid)))                  // dynamic, 256 MiB blocks
	f.Add([]byte{7, 0, 0, 8, 6, 0, 240, 255, 255, 255, 255, 255}, false, int64(len(valid)))      // block far outside
	f.Add([]byte{6, 40, 0, 24, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, false, int64(len(valid))) // locator
	f.Add([]byte{5, 10, 0, 2, 255, 7}, false, int64(1<<20))
	f.Fuzz(func(t *testing.T, edits []byte, fix bool, size int64) {
		file := overlay.New(disktest.Bytes(valid, 512))
		for len(edits) >= 4 {
			off := fuzzTargets[int(edits[0])%len(fuzzTargets)] + int64(edits[1]) + int64(edits[2])<<8
			n := min(int(edits[3]), len(edits)-4)
			if _, err := file.WriteAt(edits[4:4+n], off); err != nil {
				return
			}
			edits = edits[4+n:]
		}
		if fix {
			for i, off := range fuzzTargets[1:5] {
				p := make([]byte, []int{headerSize, regionTableSize}[i/2])
				file.ReadAt(p, off)
				file.WriteAt(le.AppendUint32(nil, checksum(p)), off+4)
			}
		}
		size = min(max(size, 0), file.Size())
		im, err := Open(io.NewSectionReader(file, 0, size), size)
		if err != nil {
			if !errors.Is(err, ErrNotVHDX) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrDirtyLog) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("not one of ours: %v", err)
			}
			return
		}
		info := im.Info()
		var parent disk.Disk
		if info.Type == Differencing {
			parent = disktest.Zeros(info.VirtualSize, info.LogicalSectorSize)
		}
		d, err := im.Disk(parent)
		if err != nil {
			t.Fatal(err)
		}
		sound := len(problems(t, im)) == 0
		p := make([]byte, 70000)
		for _, off := range []int64{0, mib - 100, 5 * mib, d.Size() - int64(len(p)), d.Size() / 2} {
			if off < 0 {
				continue
			}
			// What Check finds nothing wrong with, all of it can be read.
			if _, err := d.ReadAt(p, off); err != nil && err != io.EOF && (sound || !errors.Is(err, ErrCorrupt)) {
				t.Errorf("reading at %#x: %v", off, err)
			}
		}
		checkExtents(t, d, 0, min(d.Size(), 64*mib), sound)
	})
}

func FuzzParentLocator(f *testing.F) {
	for _, locator := range []ParentLocator{
		{},
		{RelativePath: `.\a.vhdx`, AbsolutePath: `\\host\share\ä\a.vhdx`, VolumePath: `\\?\Volume{x}\a.vhdx`},
	} {
		p, err := locator.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	windows := disktest.Unpack(f, "ntfs-differential.vhdx")
	f.Add(windows[0x210028:][:0x2a8])
	f.Fuzz(func(t *testing.T, p []byte) {
		locator, err := parseParentLocator(p, 0)
		if err != nil {
			return
		}
		locator.Linkage2 = [16]byte{} // not written
		p, err = locator.encode()
		if err != nil {
			return // longer than a locator holds once invalid UTF-16 is replaced
		}
		again, err := parseParentLocator(p, 0)
		if err != nil || *again != *locator {
			t.Errorf("%+v, again %+v, %v", locator, again, err)
		}
	})
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte("vhdxfile"))
	f.Add(append(make([]byte, 0x40), "\x7f\x10\xda\xbe"...))
	f.Fuzz(func(t *testing.T, p []byte) {
		kind := Sniff(p)
		if _, err := Open(bytes.NewReader(p), int64(len(p))); (kind == "vhdx") == errors.Is(err, ErrNotVHDX) {
			t.Errorf("%q, but %v", kind, err)
		}
	})
}
