package vhdx

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// problems are what Check reports.
func problems(t testing.TB, im *Image) []Problem {
	t.Helper()
	var found []Problem
	if err := im.Check(t.Context(), func(p Problem) { found = append(found, p) }); err != nil {
		t.Fatal(err)
	}
	return found
}

// readThrough reads a whole disk, over zeros if it has a parent.
func readThrough(t testing.TB, im *Image) error {
	t.Helper()
	var parent disk.Disk
	if im.Info().Type == Differencing {
		parent = disktest.Zeros(im.Info().VirtualSize, im.Info().LogicalSectorSize)
	}
	d := openDisk(t, im, parent)
	p := make([]byte, 4*mib)
	for off := int64(0); off < d.Size(); off += int64(len(p)) {
		if _, err := d.ReadAt(p[:min(int64(len(p)), d.Size()-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// TestBATRefused has entries that Open does not look at: Check reports them,
// and the Disk refuses what they stand for.
func TestBATRefused(t *testing.T) {
	child, big := smallChild(t), bigChild(t)
	windows := disktest.Unpack(t, "ntfs-dynamic.vhdx")
	other := uuid.MustParse("deadbeef-0000-4000-8000-000000000000")
	const ratio = 4096 // blocks of 1 MiB per chunk
	item := func(p []byte, id uuid.UUID) []byte { return p[itemOffset(t, p, id):] }

	for _, c := range []struct {
		name   string
		base   []byte
		change func(p []byte) []byte
		wrong  bool
		text   string
	}{
		{"optional region over a block", child, func(p []byte) []byte {
			addRegion(p, other, 5*mib, mib, 0)
			return p
		}, true, "BAT entry"},
		{"blocks overlap", child, func(p []byte) []byte { setBAT(p, 1, getBAT(p, 2)); return p }, true, "belongs to another block"},
		{"block over metadata", child, func(p []byte) []byte { setBAT(p, 1, 2*mib|6); return p }, true, "belongs to the"},
		{"block over its bitmap", child, func(p []byte) []byte { setBAT(p, 1, getBAT(p, ratio)); return p }, true, "belongs to another block"},
		{"block in the header section", child, func(p []byte) []byte { setBAT(p, 1, 6); return p }, true, "belongs to the"},
		{"block outside", child, func(p []byte) []byte { setBAT(p, 1, uint64(len(p))|6); return p }, true, "the file ends"},
		{"block far outside", child, func(p []byte) []byte { setBAT(p, 1, 0xfffffffffff00006); return p }, true, "the file ends"},
		{"reserved state", child, func(p []byte) []byte { setBAT(p, 1, 5*mib|4); return p }, true, "state 4"},
		{"reserved bits", child, func(p []byte) []byte { setBAT(p, 4, 1<<19); return p }, true, "reserved bits"},
		{"reserved bits of a bitmap", child, func(p []byte) []byte { setBAT(p, ratio, getBAT(p, ratio)|8); return p }, true, "reserved bits"},
		{"offset of a zero block", child, func(p []byte) []byte { setBAT(p, 3, 99999*mib|2); return p }, false, ""},
		{"bitmap missing", child, func(p []byte) []byte { setBAT(p, ratio, 0); return p }, true, "no sector bitmap"},
		{"bitmap state", child, func(p []byte) []byte { setBAT(p, ratio, 4*mib|7); return p }, true, "state 7"},
		{"bitmap outside", child, func(p []byte) []byte { setBAT(p, ratio, 1<<40|6); return p }, true, "the file ends"},
		{"partial block without parent", child, func(p []byte) []byte {
			item(p, fileParametersGUID)[4] = 0
			return p
		}, true, "image without parent"},
		{"bitmap without parent", big, func(p []byte) []byte {
			item(p, fileParametersGUID)[4] = 0
			return p
		}, true, "BAT entry"},

		{"truncated child", child, func(p []byte) []byte { return p[:len(p)-1] }, true, "payload BAT entry"},
		{"truncated in a block", windows, func(p []byte) []byte { return p[:6<<20] }, true, "payload BAT entry"},
		{"last block as short as the disk", windows, func(p []byte) []byte { return p[:8<<20] }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := openBytes(t, c.change(bytes.Clone(c.base)))
			found, readErr := problems(t, im), readThrough(t, im)
			if !c.wrong {
				if len(found) > 0 || readErr != nil {
					t.Errorf("Check finds %v, reading %v", found, readErr)
				}
				return
			}
			if len(found) == 0 {
				t.Fatal("Check finds nothing")
			}
			for _, p := range found {
				if !errors.Is(&p, ErrCorrupt) || !strings.Contains(p.Error(), c.text) {
					t.Errorf("Check finds %v\nwant it with %q", &p, c.text)
				}
			}
			if strings.Contains(c.text, "another block") {
				return // either block has a valid place of its own
			}
			if !errors.Is(readErr, ErrCorrupt) || !strings.Contains(readErr.Error(), c.text) {
				t.Errorf("reading: %v\nwant %q", readErr, c.text)
			}
		})
	}
}

// TestCheck reports everything that is wrong with a file, and where.
func TestCheck(t *testing.T) {
	p := smallChild(t)
	setBAT(p, 1, getBAT(p, 2))    // 2 is the block that comes too late
	setBAT(p, 4, 5*mib|4)         // reserved state
	p[header1Offset+100] ^= 1     // torn header
	p[regionTable2Offset+70] ^= 1 // torn region table
	setBAT(p, 5, 1<<40|6)         // far outside
	var got []string
	for _, problem := range problems(t, openBytes(t, p)) {
		got = append(got, problem.Error())
		if problem.Kind != ErrCorrupt {
			t.Errorf("%v is of kind %v", &problem, problem.Kind)
		}
	}
	want := []string{
		"header 1 at offset 0x10000: found checksum",
		"region table 2 at offset 0x40000: found checksum",
		"payload BAT entry at offset 0x300010: points to 1048576 bytes at 0x700000, but 0x700000 belongs to another block",
		"payload BAT entry at offset 0x300020: found state 4 of block 4",
		"payload BAT entry at offset 0x300028: points to 0x100000 MiB, but the file ends",
	}
	if len(got) != len(want) {
		t.Fatalf("%d problems: %q", len(got), got)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("problem %d: %s\nwant %s", i, got[i], want[i])
		}
	}
}

func TestCheckGivesUp(t *testing.T) {
	p := smallChild(t)
	for i := range 4096 {
		setBAT(p, i, 4)
	}
	le.PutUint64(p[itemOffset(t, p, virtualDiskSizeGUID):], 4<<30)
	if found := problems(t, openBytes(t, p)); len(found) != container.MaxProblems {
		t.Errorf("%d problems", len(found))
	}

	im := openBytes(t, smallChild(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := im.Check(ctx, func(p Problem) { t.Error(&p) }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	im.r = disktest.FailingAt(bytes.NewReader(p), header1Offset, iotest.ErrTimeout)
	if err := im.Check(t.Context(), func(p Problem) { t.Error(&p) }); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("failing reader: %v", err)
	}
}

// TestTruncated cuts a file anywhere: no cut opens without a Check noticing.
func TestTruncated(t *testing.T) {
	p := smallChild(t)
	for n := 0; n < len(p); n += 37<<10 + 1 {
		im, err := Open(bytes.NewReader(p[:n]), int64(n))
		if err == nil {
			if len(problems(t, im)) == 0 {
				t.Errorf("%d of %d bytes: Check finds nothing", n, len(p))
			}
			err = readThrough(t, im)
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotVHDX) {
			t.Errorf("%d of %d bytes: %v", n, len(p), err)
		}
	}
}

// sparseFile is a VHDX of a disk of size bytes whose BAT is zeros but for what
// is put on it.
func sparseFile(t testing.TB, info Info, fileSize int64) *overlay.Overlay {
	t.Helper()
	geo := newGeometry(info.VirtualSize, int64(info.BlockSize), int64(info.LogicalSectorSize))
	var locator []byte
	if info.Type == Differencing {
		var err error
		if locator, err = (ParentLocator{Linkage: info.DataWriteGUID}).encode(); err != nil {
			t.Fatal(err)
		}
	}
	metadata, err := encodeMetadata(info, locator)
	if err != nil {
		t.Fatal(err)
	}
	file := overlay.New(disktest.Zeros(fileSize, 512))
	regions := encodeRegionTable([]region{
		{batRegionGUID, layoutBATOffset, uint32(batLength(geo, info.Type == Differencing)), true},
		{metadataRegionGUID, layoutMetadataOffset, layoutMetadataLength, true},
	})
	for off, p := range map[int64][]byte{
		0:                    []byte(fileSignature),
		header1Offset:        encodeHeader(info.FileWriteGUID, info.DataWriteGUID, 1),
		header2Offset:        encodeHeader(info.FileWriteGUID, info.DataWriteGUID, 2),
		regionTable1Offset:   regions,
		regionTable2Offset:   regions,
		layoutMetadataOffset: metadata,
	} {
		if _, err := file.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// TestOpenReadsLittle opens a chain of 10 images of 2 TiB, and a disk of 64 TiB
// in the smallest blocks, whose BAT alone has 512 MiB.
func TestOpenReadsLittle(t *testing.T) {
	info := parentInfo(2<<40, 512)
	info.BlockSize = 2 << 20
	var d disk.Disk
	var read int64
	for level := range 10 {
		if level > 0 {
			info.Type = Differencing
		}
		r := &disktest.Counter{ReaderAt: sparseFile(t, info, 1<<40)}
		im, err := Open(r, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		d = openDisk(t, im, d)
		if _, err := d.ReadAt(make([]byte, mib), 1<<40); err != nil {
			t.Fatal(err)
		}
		read += r.Bytes
	}
	// The first read of a level is that of all levels below, too.
	if t.Logf("a chain of 10 images of 2 TiB: %d bytes read", read); read > 8<<20 {
		t.Errorf("too many")
	}

	info = parentInfo(maxVirtualSize, 512)
	info.BlockSize = minBlockSize
	file := sparseFile(t, info, 1<<30)
	last := newGeometry(maxVirtualSize, mib, 512).payloadEntry(64<<20 - 1)
	if _, err := file.WriteAt(le.AppendUint64(nil, 900*mib|6), layoutBATOffset+8*last); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte{77}, 901*mib-1); err != nil {
		t.Fatal(err)
	}
	r := &disktest.Counter{ReaderAt: file}
	im, err := Open(r, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	if _, err := openDisk(t, im, nil).ReadAt(p, maxVirtualSize-1); err != nil || p[0] != 77 {
		t.Errorf("last byte of 64 TiB: %d, %v", p[0], err)
	}
	if t.Logf("64 TiB: %d bytes read", r.Bytes); r.Bytes > mib {
		t.Errorf("too many")
	}
}
