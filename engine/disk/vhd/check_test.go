package vhd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"imageport/engine/disk/container"
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

func noProblems(t testing.TB, im *Image) {
	t.Helper()
	for _, p := range problems(t, im) {
		t.Errorf("Check finds %v", &p)
	}
}

// firstProblem is the first that the disk cannot be read with, if any.
func firstProblem(t testing.TB, im *Image) error {
	t.Helper()
	found := problems(t, im)
	if i := slices.IndexFunc(found, func(p Problem) bool { return !p.Readable }); i >= 0 {
		return &found[i]
	}
	return nil
}

// TestCheck reports everything that is wrong with a file, and where.
func TestCheck(t *testing.T) {
	child, fixed := smallChild(t), disktest.Unpack(t, "ntfs-fixed.vhd")
	end := len(child) - footerSize
	at := func(i int) int64 { return int64(getBAT(child, i)) * SectorSize }
	for _, c := range []struct {
		name   string
		base   []byte
		change func(p []byte) []byte
		want   []string // "readable: " in front for those with which the disk can be read
	}{
		{"fine", child, func(p []byte) []byte { return p }, nil},
		{"fixed and fine", fixed, func(p []byte) []byte { return p }, nil},
		{"footer, copy and geometry", child, func(p []byte) []byte {
			eachFooter(p, func(f []byte) { f[59] = 0 })
			p[80] ^= 1
			return p
		}, []string{
			"readable: footer copy at offset 0x0: found checksum",
			fmt.Sprintf("readable: footer at offset %#x: found a geometry of 240 cylinders, 4 heads and 0 sectors per track", end),
		}},
		{"footer cut off, blocks overlap and are outside", child, func(p []byte) []byte {
			setBAT(p, 1, getBAT(p, 0)+1)
			setBAT(p, 3, 0xfffffffe)
			setBAT(p, 4, getBAT(p, 5))
			setBAT(p, 6, 1)
			return p[:end]
		}, []string{
			"readable: footer at offset",
			"BAT entry at offset 0x200c: block 3 at 0x1fffffffc00",
			"BAT entry at offset 0x2018: block 6 at 0x200, which belongs to the dynamic disk header",
			fmt.Sprintf("BAT entry at offset 0x2004: block 1 at %#x, but block 0 takes the file up to", at(0)+512),
			fmt.Sprintf("BAT entry at offset 0x2014: block 5 at %#x, but block 4 takes", at(5)),
		}},
		{"one block over three", child, func(p []byte) []byte {
			setBAT(p, 4, getBAT(p, 1)-8) // over 1, and then in front of nothing
			setBAT(p, 6, getBAT(p, 1)+8)
			return p
		}, []string{
			fmt.Sprintf("BAT entry at offset 0x2010: block 4 at %#x, but block 0 takes", at(1)-8*512),
			fmt.Sprintf("BAT entry at offset 0x2004: block 1 at %#x, but block 4 takes", at(1)),
			fmt.Sprintf("BAT entry at offset 0x2018: block 6 at %#x, but block 1 takes", at(1)+8*512),
			fmt.Sprintf("BAT entry at offset 0x2008: block 2 at %#x, but block 6 takes", at(2)),
		}},
		{"last block truncated", child, func(p []byte) []byte {
			return append(p[:at(5)+70000:at(5)+70000], p[end:]...)
		}, []string{fmt.Sprintf("BAT entry at offset 0x2014: block 5 at %#x to %#x, but the file's data ends at %#x", at(5), at(5)+512+1<<20, at(5)+70000)}},
		{"locators", child, func(p []byte) []byte {
			h := p[headerOffset:]
			for i, code := range []string{"MacX", "Wi2k", "W2ru"} {
				entry := h[headerLocators+(2+i)*locatorSize:]
				copy(entry, code)
				be.PutUint32(entry[8:], 10)
				be.PutUint64(entry[16:], uint64(end)-9-uint64(i&1))
			}
			resealHeader(p)
			return p
		}, []string{
			fmt.Sprintf("readable: parent locator 2 (MacX) at offset %#x: points to 10 bytes at", 512+576+2*24),
			fmt.Sprintf("readable: parent locator 4 (W2ru) at offset %#x: points to 10 bytes at", 512+576+4*24),
		}},
		{"BAT not aligned", child, func(p []byte) []byte {
			// One byte on: the entries stay what they are but for the first.
			table := bytes.Clone(p[childTableOffset:][:4*8])
			copy(p[childTableOffset+1:], table)
			be.PutUint64(p[headerOffset+16:], childTableOffset+1)
			resealHeader(p)
			return p
		}, []string{"readable: dynamic disk header at offset 0x200: points to the BAT at 0x2001, expected a multiple of 512"}},
		{"appended to", child, func(p []byte) []byte { return append(p, disktest.Pattern(5000, 3)...) }, []string{
			fmt.Sprintf("readable: footer at offset %#x: found cookie", end+5000),
			fmt.Sprintf("readable: footer at offset %#x: 5000 bytes follow it, expected the end of the file", end),
		}},
		{"fixed with a gap", fixed, func(p []byte) []byte {
			return append(append(p[:4<<20:4<<20], make([]byte, 1024)...), p[4<<20:]...)
		}, []string{"readable: footer at offset 0x400400: found behind 4195328 bytes of data, expected behind a disk of 4194304"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := openBytes(t, c.change(slices.Clone(c.base)))
			var got []string
			for _, p := range problems(t, im) {
				if !errors.Is(&p, ErrCorrupt) {
					t.Errorf("%v is of another kind", &p)
				}
				text := p.Error()
				if p.Readable {
					text = "readable: " + text
				}
				got = append(got, text)
			}
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("found %s\nwant  %s", strings.Join(got, "\n      "), strings.Join(c.want, "\n      "))
			}
		})
	}
}

// TestCheckAppended finds the footer behind blocks of every corpus image that
// something was appended to.
func TestCheckAppended(t *testing.T) {
	for _, name := range []string{"ntfs-dynamic.vhd", "ntfs-differential.vhd", "ext2.vhd", "qemu.vhd", "win8.vhd", "win8-child.vhd"} {
		p := disktest.Unpack(t, name)
		want := int64(len(p) - footerSize)
		found := problems(t, openBytes(t, append(p, 1, 2, 3)))
		if len(found) != 2 || found[1].Offset != want || !strings.HasPrefix(found[1].Detail, "3 bytes follow") {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestCheckGivesUp(t *testing.T) {
	p := smallChild(t)
	eachFooter(p, func(f []byte) { be.PutUint64(f[48:], 1020<<20) })
	be.PutUint32(p[headerOffset+28:], 1020)
	resealHeader(p)
	for i := range 1020 {
		setBAT(p, i, 0)
	}
	im, err := Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	if found := problems(t, im); len(found) != container.MaxProblems {
		t.Errorf("%d problems", len(found))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := im.Check(ctx, func(Problem) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	im.table.r = disktest.FailingAt(bytes.NewReader(p), childTableOffset+5, iotest.ErrTimeout)
	if err := im.Check(t.Context(), func(Problem) {}); !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrCorrupt) {
		t.Errorf("reader fails: %v", err)
	}
}

// TestBitmapRuns reads blocks whose bits come in runs that end within bytes:
// Windows 10 tracks single sectors for guests that write them.
func TestBitmapRuns(t *testing.T) {
	p := smallChild(t)
	const sectors = mib / SectorSize
	bitmap := sectorBitmap(p[int64(getBAT(p, 1))*SectorSize:][:sectors/8])
	for i := range bitmap {
		bitmap[i] = byte(0xcb * (i + 1) >> (i % 3))
	}
	parent := disktest.Pattern(8<<20, 9)
	want := naive(t, p, parent)
	d := openDisk(t, openBytes(t, p), disktest.Bytes(parent, SectorSize))
	if !bytes.Equal(disktest.ReadAll(t, d), want) {
		t.Error("disk differs from the naive reader's")
	}
	checkExtents(t, d, bytes.NewReader(p), bytes.NewReader(parent), 0, d.Size())
	got := make([]byte, 3000)
	for off := int64(mib - 1000); off < 2*mib; off += 7777 {
		if _, err := d.ReadAt(got, off); err != nil && err != io.EOF || !bytes.Equal(got, want[off:][:3000]) {
			t.Fatalf("read at %d differs (%v)", off, err)
		}
	}
}
