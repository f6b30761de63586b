package vhdx

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// smallChild is a child of 8 MiB with every kind of block: 0 partially, 1
// and 2 fully present, 3 zero, 5 partially present; 1 MiB blocks.
func smallChild(t testing.TB) []byte {
	t.Helper()
	base := make([]byte, 8<<20)
	disktest.Fill(base, 0, len(base), 1)
	ov := overlay.New(disktest.Bytes(base, 512))
	for off, p := range map[int64][]byte{
		512:     disktest.Pattern(1000, 2),
		1 << 20: disktest.Pattern(2<<20, 3),
		3 << 20: make([]byte, 1<<20),
		5 << 20: disktest.Pattern(70000, 4),
	} {
		if _, err := ov.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	return writeChild(t, ov, childOptions(parentInfo(8<<20, 512), "p.vhdx", 1<<20))
}

// bigChild has two chunks and so a sector bitmap entry before its last payload.
func bigChild(t testing.TB) []byte {
	t.Helper()
	ov := overlay.New(disktest.Zeros(5<<30, 512))
	for _, off := range []int64{0, 4<<30 + 4096} {
		if _, err := ov.WriteAt(disktest.Pattern(4096, 5), off); err != nil {
			t.Fatal(err)
		}
	}
	return writeChild(t, ov, childOptions(parentInfo(5<<30, 512), "p.vhdx", 2<<20))
}

// reseal recomputes the checksums of both headers and both region tables.
func reseal(p []byte) {
	for _, s := range []struct{ off, size int }{
		{header1Offset, headerSize}, {header2Offset, headerSize},
		{regionTable1Offset, regionTableSize}, {regionTable2Offset, regionTableSize},
	} {
		q := p[s.off:][:s.size]
		le.PutUint32(q[4:], checksum(q))
	}
}

// bothHeaders and bothRegions change the two copies alike and reseal them.
func bothHeaders(p []byte, change func([]byte)) {
	change(p[header1Offset:][:headerSize])
	change(p[header2Offset:][:headerSize])
	reseal(p)
}

func bothRegions(p []byte, change func([]byte)) {
	change(p[regionTable1Offset:][:regionTableSize])
	change(p[regionTable2Offset:][:regionTableSize])
	reseal(p)
}

func addRegion(p []byte, id uuid.UUID, off, length, required int) {
	bothRegions(p, func(table []byte) {
		n := le.Uint32(table[8:])
		entry := table[16+32*n:]
		putGUID(entry, id)
		le.PutUint64(entry[16:], uint64(off))
		le.PutUint32(entry[24:], uint32(length))
		le.PutUint32(entry[28:], uint32(required))
		le.PutUint32(table[8:], n+1)
	})
}

// metaEntry is entry i of the metadata table of a file of ours.
func metaEntry(p []byte, i int) []byte { return p[layoutMetadataOffset+32*(i+1):][:32] }

// addItem appends an entry without data to the metadata table.
func addItem(p []byte, id uuid.UUID, flags uint32) {
	table := p[layoutMetadataOffset:]
	n := le.Uint16(table[10:])
	entry := metaEntry(p, int(n))
	clear(entry)
	putGUID(entry, id)
	le.PutUint32(entry[24:], flags)
	le.PutUint16(table[10:], n+1)
}

func setBAT(p []byte, i int, entry uint64) { le.PutUint64(p[layoutBATOffset+8*i:], entry) }
func getBAT(p []byte, i int) uint64        { return le.Uint64(p[layoutBATOffset+8*i:]) }

func TestRefused(t *testing.T) {
	child := smallChild(t)
	other := uuid.MustParse("deadbeef-0000-4000-8000-000000000000")
	item := func(p []byte, id uuid.UUID) []byte { return p[itemOffset(t, p, id):] }

	for _, c := range []struct {
		name   string
		base   []byte
		change func(p []byte) []byte
		want   error // nil: opens
		text   string
	}{
		{"unchanged", child, func(p []byte) []byte { return p }, nil, ""},
		{"empty file", child, func(p []byte) []byte { return p[:0] }, ErrNotVHDX, ""},
		{"VHD", child, func(p []byte) []byte { copy(p, "conectix"); return p }, ErrNotVHDX, `"conectix"`},
		{"zeros", child, func(p []byte) []byte { return make([]byte, 4096) }, ErrNotVHDX, ""},
		{"signature only", child, func(p []byte) []byte { return p[:8] }, ErrCorrupt, ""},
		{"4 KiB", child, func(p []byte) []byte { return p[:4096] }, ErrCorrupt, "4096 bytes"},

		{"first header torn", child, func(p []byte) []byte { p[header1Offset+100] ^= 1; return p }, nil, ""},
		{"second header torn", child, func(p []byte) []byte { p[header2Offset+100] ^= 1; return p }, nil, ""},
		{"both headers torn", child, func(p []byte) []byte {
			p[header1Offset+100] ^= 1
			p[header2Offset] ^= 1
			return p
		}, ErrCorrupt, "found checksum"},
		{"equal headers", child, func(p []byte) []byte {
			copy(p[header2Offset:], p[header1Offset:][:headerSize])
			return p
		}, nil, ""},
		{"equal sequence, other contents", child, func(p []byte) []byte {
			copy(p[header2Offset:], p[header1Offset:][:headerSize])
			p[header2Offset+32] ^= 1
			reseal(p)
			return p
		}, ErrCorrupt, "sequence number 1"},
		{"version 2", child, func(p []byte) []byte {
			bothHeaders(p, func(h []byte) { h[66] = 2 })
			return p
		}, ErrUnsupported, "version 2"},
		{"dirty log", child, func(p []byte) []byte {
			bothHeaders(p, func(h []byte) { putGUID(h[48:], other) })
			return p
		}, ErrDirtyLog, other.String()},
		{"dirty log in the older header only", child, func(p []byte) []byte {
			putGUID(p[header1Offset+48:], other)
			reseal(p)
			return p
		}, nil, ""},
		{"log over metadata", child, func(p []byte) []byte {
			bothHeaders(p, func(h []byte) { le.PutUint64(h[72:], 2*mib) })
			return p
		}, ErrCorrupt, "belongs to the"},
		{"log outside", child, func(p []byte) []byte {
			bothHeaders(p, func(h []byte) { le.PutUint64(h[72:], 1<<63) })
			return p
		}, ErrCorrupt, "the file ends"},

		{"first region table torn", child, func(p []byte) []byte { p[regionTable1Offset+70] ^= 1; return p }, nil, ""},
		{"second region table torn", child, func(p []byte) []byte { p[regionTable2Offset+70] ^= 1; return p }, nil, ""},
		{"both region tables torn", child, func(p []byte) []byte {
			p[regionTable1Offset+70] ^= 1
			p[regionTable2Offset+70] ^= 1
			return p
		}, ErrCorrupt, "region tables"},
		{"region tables differ", child, func(p []byte) []byte {
			p[regionTable2Offset+16+28] ^= 1
			reseal(p)
			return p
		}, ErrCorrupt, "different"},
		{"too many regions", child, func(p []byte) []byte {
			bothRegions(p, func(r []byte) { le.PutUint32(r[8:], 1<<31) })
			return p
		}, ErrCorrupt, "2147483648 entries"},
		{"unknown required region", child, func(p []byte) []byte {
			addRegion(p, other, len(p), mib, 1)
			return append(p, make([]byte, mib)...)
		}, ErrUnsupported, other.String()},
		{"unknown optional region", child, func(p []byte) []byte {
			addRegion(p, other, len(p), mib, 0)
			return append(p, make([]byte, mib)...)
		}, nil, ""},
		{"region twice", child, func(p []byte) []byte {
			addRegion(p, batRegionGUID, len(p), mib, 1)
			return append(p, make([]byte, mib)...)
		}, ErrCorrupt, "a second region"},
		{"no BAT region", child, func(p []byte) []byte {
			bothRegions(p, func(r []byte) { putGUID(r[16:], other); le.PutUint32(r[16+28:], 0) })
			return p
		}, ErrCorrupt, "not both"},
		{"region length", child, func(p []byte) []byte {
			bothRegions(p, func(r []byte) { le.PutUint32(r[16+24:], mib-1) })
			return p
		}, ErrCorrupt, "multiple of 1 MiB"},
		{"region of 4 GiB", child, func(p []byte) []byte {
			bothRegions(p, func(r []byte) { le.PutUint32(r[16+24:], 0xfff00000) })
			return p
		}, ErrCorrupt, "the file ends"},
		{"region unaligned", child, func(p []byte) []byte {
			bothRegions(p, func(r []byte) { r[16+16] = 1 })
			return p
		}, ErrCorrupt, "multiple of 1 MiB"},
		{"region in the header section", child, func(p []byte) []byte {
			bothRegions(p, func(r []byte) { le.PutUint64(r[16+16:], 0) })
			return p
		}, ErrCorrupt, "belongs to the"},

		{"metadata signature", child, func(p []byte) []byte { p[layoutMetadataOffset] = 'M'; return p }, ErrCorrupt, "Metadata"},
		{"metadata count", child, func(p []byte) []byte { le.PutUint16(p[layoutMetadataOffset+10:], 2048); return p }, ErrCorrupt, "2048"},
		{"unknown required item", child, func(p []byte) []byte { addItem(p, other, itemIsRequired); return p }, ErrUnsupported, other.String()},
		{"unknown optional item", child, func(p []byte) []byte { addItem(p, other, 0); return p }, nil, ""},
		{"user item with a system ID", child, func(p []byte) []byte { addItem(p, virtualDiskSizeGUID, itemIsUser); return p }, nil, ""},
		{"item twice", child, func(p []byte) []byte { copy(metaEntry(p, 5), metaEntry(p, 1)); return p }, ErrCorrupt, "a second virtual disk size"},
		{"item missing", child, func(p []byte) []byte {
			putGUID(metaEntry(p, 1), other)
			le.PutUint32(metaEntry(p, 1)[24:], 0)
			return p
		}, ErrCorrupt, "no entry for the virtual disk size"},
		{"item length", child, func(p []byte) []byte { le.PutUint32(metaEntry(p, 1)[20:], 4); return p }, ErrCorrupt, "found 4 bytes"},
		{"item in the table", child, func(p []byte) []byte { le.PutUint32(metaEntry(p, 1)[16:], 32); return p }, ErrCorrupt, "metadata region"},
		{"item outside", child, func(p []byte) []byte { le.PutUint32(metaEntry(p, 1)[16:], 0xfffffffc); return p }, ErrCorrupt, "metadata region"},
		{"item across the end", child, func(p []byte) []byte { le.PutUint32(metaEntry(p, 1)[16:], mib-4); return p }, ErrCorrupt, "metadata region"},
		{"locator of 4 GiB", child, func(p []byte) []byte { le.PutUint32(metaEntry(p, 5)[20:], 0xffffffff); return p }, ErrCorrupt, "metadata region"},
		{"block size", child, func(p []byte) []byte { le.PutUint32(item(p, fileParametersGUID), 3<<20); return p }, ErrCorrupt, "3145728"},
		{"block size 0", child, func(p []byte) []byte { le.PutUint32(item(p, fileParametersGUID), 0); return p }, ErrCorrupt, "block size 0"},
		{"sector size", child, func(p []byte) []byte { le.PutUint32(item(p, logicalSectorSizeGUID), 520); return p }, ErrCorrupt, "520"},
		{"physical sector size", child, func(p []byte) []byte { le.PutUint32(item(p, physicalSectorSizeGUID), 0); return p }, ErrCorrupt, "expected 512 or 4096"},
		{"size 0", child, func(p []byte) []byte { le.PutUint64(item(p, virtualDiskSizeGUID), 0); return p }, ErrCorrupt, "virtual disk size"},
		{"size of half a sector", child, func(p []byte) []byte { le.PutUint64(item(p, virtualDiskSizeGUID), 256); return p }, ErrCorrupt, "virtual disk size"},
		{"size beyond 64 TiB", child, func(p []byte) []byte { le.PutUint64(item(p, virtualDiskSizeGUID), 1<<62); return p }, ErrCorrupt, "64 TiB"},
		{"size beyond the BAT", child, func(p []byte) []byte { le.PutUint64(item(p, virtualDiskSizeGUID), 64<<40); return p }, ErrCorrupt, "BAT at offset 0x300000"},

		{"no locator", child, func(p []byte) []byte { le.PutUint16(p[layoutMetadataOffset+10:], 5); return p }, ErrCorrupt, "without a parent locator"},
		{"locator type", child, func(p []byte) []byte { item(p, parentLocatorGUID)[0]++; return p }, ErrUnsupported, "found type"},
		{"locator entries", child, func(p []byte) []byte { le.PutUint16(item(p, parentLocatorGUID)[18:], 60000); return p }, ErrCorrupt, "60000 entries"},
		{"locator key outside", child, func(p []byte) []byte { le.PutUint32(item(p, parentLocatorGUID)[20:], 0xfffffff0); return p }, ErrCorrupt, "entry 0"},
		{"locator value odd", child, func(p []byte) []byte { item(p, parentLocatorGUID)[20+10]--; return p }, ErrCorrupt, "entry 0"},
		{"locator key twice", child, func(p []byte) []byte {
			q := item(p, parentLocatorGUID)
			copy(q[32:44], q[20:32])
			return p
		}, ErrCorrupt, "a second"},
		{"linkage without braces", child, func(p []byte) []byte {
			i := bytes.Index(p, encodeUTF16("{1111"))
			p[i] = '['
			return p
		}, ErrCorrupt, "GUID in braces"},
		{"linkage missing", child, func(p []byte) []byte {
			i := bytes.Index(p, encodeUTF16("parent_linkage"))
			p[i] = 'q'
			return p
		}, ErrCorrupt, "parent_linkage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.change(bytes.Clone(c.base))
			im, err := Open(bytes.NewReader(p), int64(len(p)))
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if im.Info().VirtualSize == 0 {
					t.Error("no size")
				}
				return
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "at offset 0x") {
				t.Errorf("%v\nwant %v, with %q", err, c.want, c.text)
			}
		})
	}
}

// TestReaderFails passes the reader's own errors on, not as corruption.
func TestReaderFails(t *testing.T) {
	p := smallChild(t)
	for n := range int64(len(p)) / 65536 {
		failing := disktest.FailingAt(bytes.NewReader(p), n*65536, iotest.ErrTimeout)
		im, err := Open(failing, int64(len(p)))
		if err == nil {
			var d = openDisk(t, im, disktest.Zeros(8<<20, 512))
			_, err = d.ReadAt(make([]byte, d.Size()), 0)
		}
		if err == nil {
			continue // nothing is read there
		}
		if !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotVHDX) {
			t.Errorf("failing at %#x: %v", n*65536, err)
		}
	}
}

func TestParentMismatch(t *testing.T) {
	parent := parentInfo(8<<20, 512)
	child := openBytes(t, smallChild(t))
	if err := VerifyParent(child.Info(), parent); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(child, parent *Info){
		"linkage":      func(_, p *Info) { p.DataWriteGUID[3]++ },
		"size":         func(_, p *Info) { p.VirtualSize += 512 },
		"sector size":  func(_, p *Info) { p.LogicalSectorSize = 4096 },
		"type":         func(c, _ *Info) { c.Type = Dynamic },
		"nil linkages": func(_, p *Info) { p.DataWriteGUID = uuid.Nil },
	} {
		c, p := child.Info(), parent
		change(&c, &p)
		if err := VerifyParent(c, p); !errors.Is(err, ErrParentMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// During a merge, the parent may already have its second identity.
	c, p := child.Info(), parent
	p.DataWriteGUID = uuid.MustParse("deadbeef-0000-4000-8000-000000000000")
	locator := *c.Parent
	locator.Linkage2 = p.DataWriteGUID
	c.Parent = &locator
	if err := VerifyParent(c, p); err != nil {
		t.Errorf("second linkage: %v", err)
	}

	if _, err := child.Disk(nil); !errors.Is(err, ErrParentMismatch) {
		t.Errorf("no parent: %v", err)
	}
	if _, err := child.Disk(disktest.Zeros(8<<20+512, 512)); !errors.Is(err, ErrParentMismatch) {
		t.Errorf("bigger parent: %v", err)
	}
	if _, err := child.Disk(disktest.Zeros(8<<20, 4096)); !errors.Is(err, ErrParentMismatch) {
		t.Errorf("sectors: %v", err)
	}
	if _, err := openBytes(t, disktest.Unpack(t, "ntfs-fixed.vhdx")).Disk(disktest.Zeros(4<<20, 512)); !errors.Is(err, ErrParentMismatch) {
		t.Errorf("parent of a fixed image: %v", err)
	}
}

// TestLocatorBomb has 65,535 entries of a locator of 1 MiB share its text: as
// strings of their own they would be gigabytes.
func TestLocatorBomb(t *testing.T) {
	const count = 1<<16 - 1
	p := make([]byte, maxMetadataItem)
	putGUID(p, vhdxLocatorGUID)
	le.PutUint16(p[18:], count)
	for i := range count {
		entry := p[locatorHeaderSize+i*locatorEntrySize:]
		le.PutUint32(entry, uint32(2*i))
		le.PutUint32(entry[4:], uint32(2*i))
		le.PutUint16(entry[8:], 0xfffe)
		le.PutUint16(entry[10:], 0xfffe)
	}
	allocated := testing.AllocsPerRun(1, func() {
		if _, err := parseParentLocator(p, 0); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), keyParentLinkage) {
			t.Error(err)
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations", allocated)
	}
}

func TestHugeFileSize(t *testing.T) {
	p := smallChild(t)
	for _, size := range []int64{1 << 62, -1} {
		if _, err := Open(bytes.NewReader(p), size); err == nil {
			t.Errorf("size %d opens", size)
		}
	}
}
