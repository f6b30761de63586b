package vhd

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// smallChild is a child of 8 MiB in blocks of 1 MiB: 0 and 5 have changed
// sectors, 1 and 2 nothing but changed ones, 3 zeros.
func smallChild(t testing.TB) []byte {
	t.Helper()
	base := make([]byte, 8<<20)
	disktest.Fill(base, 0, len(base), 1)
	ov := overlay.New(disktest.Bytes(base, SectorSize))
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
	return writeChild(t, ov, childOptions(parentInfo(8<<20), "p.vhd", 1<<20))
}

// eachFooter changes the footer and, if there is one, its copy, and reseals them.
func eachFooter(p []byte, change func(f []byte)) {
	for _, f := range [][]byte{p[:footerSize], p[len(p)-footerSize:]} {
		if string(f[:8]) == footerCookie {
			change(f)
			be.PutUint32(f[footerChecksum:], checksum(f, footerChecksum))
		}
	}
}

func resealHeader(p []byte) {
	h := p[headerOffset:][:headerSize]
	be.PutUint32(h[headerChecksum:], checksum(h, headerChecksum))
}

func setBAT(p []byte, i int, entry uint32) { be.PutUint32(p[childTableOffset+4*i:], entry) }
func getBAT(p []byte, i int) uint32        { return be.Uint32(p[childTableOffset+4*i:]) }

func TestRefused(t *testing.T) {
	child, fixed, windows := smallChild(t), disktest.Unpack(t, "ntfs-fixed.vhd"), disktest.Unpack(t, "ntfs-dynamic.vhd")
	footers := func(change func(f []byte)) func([]byte) []byte {
		return func(p []byte) []byte { eachFooter(p, change); return p }
	}
	head := func(change func(h []byte)) func([]byte) []byte {
		return func(p []byte) []byte { change(p[headerOffset:][:headerSize]); resealHeader(p); return p }
	}
	for _, c := range []struct {
		name   string
		base   []byte
		change func(p []byte) []byte
		want   error // nil: opens
		text   string
	}{
		{"unchanged", child, func(p []byte) []byte { return p }, nil, ""},
		{"empty file", child, func(p []byte) []byte { return p[:0] }, ErrNotVHD, "0 bytes"},
		{"zeros", child, func(p []byte) []byte { return make([]byte, 4096) }, ErrNotVHD, ""},
		{"VHDX", child, func(p []byte) []byte { copy(p, "vhdxfile"); return p[:len(p)-512] }, ErrNotVHD, ""},
		{"footer copy alone", child, func(p []byte) []byte { return p[:512] }, ErrCorrupt, "dynamic disk header"},
		{"4 KiB", child, func(p []byte) []byte { return p[:4096] }, ErrCorrupt, "data ends"},
		{"fixed without footer", fixed, func(p []byte) []byte { return p[:len(p)-512] }, ErrNotVHD, ""},
		{"fixed with a damaged footer", fixed, func(p []byte) []byte { p[len(p)-512+90] ^= 1; return p }, ErrCorrupt, "checksum"},
		{"fixed truncated", fixed, func(p []byte) []byte { return p[len(p)-4096:] }, ErrCorrupt, "fixed disk of 4194304 bytes"},
		{"fixed footer as the copy", fixed, func(p []byte) []byte { return append(p[len(p)-512:], p[:8192]...) }, ErrNotVHD, ""},
		{"both footers damaged", child, func(p []byte) []byte { p[100] ^= 1; p[len(p)-400] ^= 1; return p }, ErrCorrupt, "checksum"},
		{"copy damaged, no footer", child, func(p []byte) []byte { p[100] ^= 1; return p[:len(p)-512] }, ErrCorrupt, "footer copy at offset 0x0"},
		{"footer version", child, footers(func(f []byte) { f[13] = 2 }), ErrUnsupported, "version"},
		{"minor version", child, footers(func(f []byte) { f[15] = 2 }), nil, ""},
		{"disk type 5", child, footers(func(f []byte) { f[63] = 5 }), ErrUnsupported, "disk type 5"},
		{"size 0", child, footers(func(f []byte) { clear(f[48:56]) }), ErrCorrupt, "current size"},
		{"size of half a sector", child, footers(func(f []byte) { f[54] = 1 }), ErrCorrupt, "current size"},
		{"size beyond 2040 GiB", child, footers(func(f []byte) { f[48] = 0xff }), ErrUnsupported, "current size"},
		{"size beyond the table", child, footers(func(f []byte) { f[51] = 1 }), ErrCorrupt, "8 table entries"},

		{"header elsewhere", child, footers(func(f []byte) { be.PutUint64(f[16:], 513) }), ErrCorrupt, "cookie"},
		{"header outside", child, footers(func(f []byte) { be.PutUint64(f[16:], 1<<40) }), ErrCorrupt, "data ends"},
		{"header nowhere", child, footers(func(f []byte) { be.PutUint64(f[16:], noDataOffset) }), ErrCorrupt, "data ends"},
		{"header cookie", child, head(func(h []byte) { h[0] = 'C' }), ErrCorrupt, "cookie"},
		{"header checksum", child, func(p []byte) []byte { p[headerOffset+1000] ^= 1; return p }, ErrCorrupt, "checksum"},
		{"header version", child, head(func(h []byte) { h[25] = 2 }), ErrUnsupported, "version"},
		{"block size 0", child, head(func(h []byte) { be.PutUint32(h[32:], 0) }), ErrCorrupt, "block size 0"},
		{"block size 3 MiB", child, head(func(h []byte) { be.PutUint32(h[32:], 3<<20) }), ErrCorrupt, "power of two"},
		{"block size 4 KiB", child, head(func(h []byte) { be.PutUint32(h[32:], 4096) }), ErrUnsupported, "block size 4096"},
		{"block size 512 MiB", child, head(func(h []byte) { be.PutUint32(h[32:], 512<<20) }), ErrUnsupported, "block size"},
		{"few entries", child, head(func(h []byte) { be.PutUint32(h[28:], 7) }), ErrCorrupt, "7 table entries"},
		{"many entries", child, head(func(h []byte) { be.PutUint32(h[28:], 1<<31) }), nil, ""},
		{"BAT over the header", child, head(func(h []byte) { be.PutUint64(h[16:], 512) }), ErrCorrupt, "belongs to the dynamic disk header"},
		{"BAT outside", child, head(func(h []byte) { be.PutUint64(h[16:], 1<<63) }), ErrCorrupt, "data ends"},
		{"locator outside", child, head(func(h []byte) { be.PutUint64(h[576+16:], 1<<62) }), ErrCorrupt, "parent locator 0 (W2ku)"},
		{"locator over the BAT", child, head(func(h []byte) { be.PutUint64(h[576+16:], childTableOffset) }), ErrCorrupt, "belongs to the BAT"},
		{"locator odd", child, head(func(h []byte) { h[576+11]-- }), ErrCorrupt, "UTF-16"},
		{"locator of 4 GiB", child, head(func(h []byte) { be.PutUint32(h[576+8:], 0xfffffffe) }), ErrCorrupt, "UTF-16"},
		{"locator of another platform", child, head(func(h []byte) { copy(h[576:], "MacX"); be.PutUint64(h[576+16:], 1<<62) }), nil, ""},

		{"block in the header", child, func(p []byte) []byte { setBAT(p, 4, 0); return p }, ErrCorrupt, "belongs to the footer copy"},
		{"block over the BAT", child, func(p []byte) []byte { setBAT(p, 4, childTableOffset/512); return p }, ErrCorrupt, "BAT entry at offset 0x2010"},
		{"block over a path", child, func(p []byte) []byte { setBAT(p, 4, childTableOffset/512+8); return p }, ErrCorrupt, "parent locator 1 (W2ru)"},
		{"block over the footer", child, func(p []byte) []byte { setBAT(p, 4, getBAT(p, 5)+8); return p }, ErrCorrupt, "data ends"},
		{"block outside", child, func(p []byte) []byte { setBAT(p, 4, 0xfffffffe); return p }, ErrCorrupt, "data ends"},
		{"blocks overlap", child, func(p []byte) []byte { setBAT(p, 4, getBAT(p, 5)-8); return p }, ErrCorrupt, "takes the file up to"},
		{"block twice", child, func(p []byte) []byte { setBAT(p, 4, getBAT(p, 5)); return p }, ErrCorrupt, "takes the file up to"},
		{"truncated in a block", windows, func(p []byte) []byte { return p[:3<<20] }, ErrCorrupt, "BAT entry at offset 0x604"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.change(slices.Clone(c.base))
			im, err := Open(bytes.NewReader(p), int64(len(p)))
			if err == nil {
				err = firstProblem(t, im)
			}
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "at offset 0x") {
				t.Errorf("%v\nwant %v, with %q", err, c.want, c.text)
			}
		})
	}
}

// TestLateRefusal has the BAT verified by whoever comes across it first.
func TestLateRefusal(t *testing.T) {
	p := smallChild(t)
	setBAT(p, 7, 0xfffffffe)
	d := openDisk(t, openBytes(t, p), disktest.Zeros(8<<20, SectorSize))
	if n, err := d.ReadAt(make([]byte, 4096), 0); n != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	var last error
	for _, err := range d.Extents(0, d.Size()) {
		if last != nil {
			t.Error("goes on after an error")
		}
		last = err
	}
	if !errors.Is(last, ErrCorrupt) {
		t.Errorf("Extents: %v", last)
	}
}

// TestTruncated cuts a file anywhere before the end of its last block: no cut
// passes as whole.
func TestTruncated(t *testing.T) {
	p := smallChild(t)
	for n := 0; n < len(p)-blockAlignment; n += 37<<10 + 1 {
		im, err := Open(bytes.NewReader(p[:n]), int64(n))
		if err == nil {
			err = firstProblem(t, im)
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotVHD) {
			t.Errorf("%d of %d bytes: %v", n, len(p), err)
		}
	}
}

// TestReaderFails passes the reader's own errors on, not as corruption.
func TestReaderFails(t *testing.T) {
	p := smallChild(t)
	failed := 0
	for at := int64(0); at < int64(len(p)); at += 32 << 10 {
		failing := disktest.FailingAt(bytes.NewReader(p), at, iotest.ErrTimeout)
		im, err := Open(failing, int64(len(p)))
		if err == nil {
			_, err = openDisk(t, im, disktest.Zeros(8<<20, SectorSize)).ReadAt(make([]byte, 8<<20), 0)
		}
		if err == nil {
			continue // nothing is read there
		}
		failed++
		if !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotVHD) {
			t.Errorf("failing at %#x: %v", at, err)
		}
	}
	if failed == 0 {
		t.Error("nothing failed")
	}
}

func TestParentMismatch(t *testing.T) {
	parent := parentInfo(8 << 20)
	child := openBytes(t, smallChild(t))
	if err := VerifyParent(child.Info(), parent); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(child, parent *Info){
		"unique ID": func(_, p *Info) { p.UniqueID[3]++ },
		"size":      func(_, p *Info) { p.VirtualSize += 512 },
		"type":      func(c, _ *Info) { c.Type = Dynamic },
	} {
		c, p := child.Info(), parent
		change(&c, &p)
		if err := VerifyParent(c, p); !errors.Is(err, ErrParentMismatch) {
			t.Errorf("%s: %v", name, err)
		}
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
	if _, err := openBytes(t, disktest.Unpack(t, "ntfs-fixed.vhd")).Disk(disktest.Zeros(4<<20, 512)); !errors.Is(err, ErrParentMismatch) {
		t.Errorf("parent of a fixed image: %v", err)
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
