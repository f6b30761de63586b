package vhd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/testkit/disktest"
)

// TestCorpus decodes images made by Windows 8, Windows 10 and QEMU; the hashes
// are 7-Zip's.
func TestCorpus(t *testing.T) {
	for _, c := range []struct {
		name, parent string
		hash         string // first digits of the SHA-256 of the disk
		typ          Type
		size         int64
		geometry     Geometry
		creator      string
	}{
		{"ntfs-fixed.vhd", "", "cd81fade", Fixed, 4 << 20, Geometry{120, 4, 17}, "win 10.0"},
		{"ntfs-dynamic.vhd", "", "8b10b52e", Dynamic, 4 << 20, Geometry{120, 4, 17}, "win 10.0"},
		{"ntfs-parent.vhd", "", "c91d1766", Fixed, 4 << 20, Geometry{120, 4, 17}, "win 10.0"},
		{"ntfs-differential.vhd", "ntfs-parent.vhd", "b7922a46", Differencing, 4 << 20, Geometry{120, 4, 17}, "win 10.0"},
		{"ext2.vhd", "", "870be7ae", Dynamic, 4212736, Geometry{121, 4, 17}, "qemu 5.3"},
		{"qemu.vhd", "", "258dd1ab", Dynamic, 41953280, Geometry{964, 5, 17}, "qemu 5.3"},
		{"win8.vhd", "", "80a37211", Dynamic, 40 << 20, Geometry{963, 5, 17}, "win 6.3"},
		{"win8-child.vhd", "win8.vhd", "80a37211", Differencing, 40 << 20, Geometry{963, 5, 17}, "win 10.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := disktest.Unpack(t, c.name)
			im := openBytes(t, p)
			noProblems(t, im)
			info := im.Info()
			if info.Type != c.typ || info.VirtualSize != c.size || info.CurrentSize != c.size ||
				info.Geometry != c.geometry || info.Creator != c.creator || info.Warnings != nil {
				t.Errorf("info %+v", info)
			}
			// All of them calculate the geometry as we do.
			if got := geometryOf(c.size); got != c.geometry {
				t.Errorf("geometry %+v, theirs %+v", got, c.geometry)
			}
			d, err := im.Disk(nil)
			var parentDisk io.ReaderAt
			if c.parent != "" {
				if !errors.Is(err, ErrParentMismatch) {
					t.Fatalf("without parent: %v", err)
				}
				parent := openBytes(t, disktest.Unpack(t, c.parent))
				if err := VerifyParent(info, parent.Info()); err != nil {
					t.Fatal(err)
				}
				parentMapped := openDisk(t, parent, nil)
				parentDisk = parentMapped
				d, err = im.Disk(parentMapped)
			}
			if err != nil {
				t.Fatal(err)
			}
			if hash := fmt.Sprintf("%x", sha256.Sum256(disktest.ReadAll(t, d))); !strings.HasPrefix(hash, c.hash) {
				t.Errorf("disk has SHA-256 %s, want %s…", hash, c.hash)
			}
			checkExtents(t, d, bytes.NewReader(p), parentDisk, 0, d.Size())
		})
	}
}

// TestWindowsChild pins what a child made by Windows says, in Windows' terms.
func TestWindowsChild(t *testing.T) {
	p := disktest.Unpack(t, "ntfs-differential.vhd")
	info := openBytes(t, p).Info()
	want := ParentLocator{
		UniqueID:     uuid.MustParse("e7ea9200-8493-954e-a816-9572339be931"),
		Name:         `C:\Projects\dfvfs\test_data\ntfs-parent.vhd`,
		RelativePath: `.\ntfs-parent.vhd`,
		AbsolutePath: `C:\Projects\dfvfs\test_data\ntfs-parent.vhd`,
	}
	if info.Parent == nil || *info.Parent != want {
		t.Errorf("parent locator %+v", info.Parent)
	}
	if want := time.Date(2020, 10, 11, 11, 37, 55, 0, time.UTC); !info.Timestamp.Equal(want) {
		t.Errorf("time stamp %s", info.Timestamp)
	}
	id, err := ReadIdentity(bytes.NewReader(p), int64(len(p)))
	if err != nil || id != info.UniqueID || id != uuid.MustParse("722fa4e2-59c4-c645-8456-ddb430ac4a19") {
		t.Errorf("ReadIdentity = %s, %v", id, err)
	}
}

// TestQEMU compares images made by qemu-img, whose size is the geometry's or,
// with force_size, the footer's, with what qemu-img itself reads.
func TestQEMU(t *testing.T) {
	raw := make([]byte, 41<<20+512*7)
	disktest.Fill(raw, 0, 1<<20, 1)
	disktest.Fill(raw, 9<<20+512, 3<<20, 2)
	disktest.Fill(raw, 40<<20, 1<<20+512*7, 3)
	for _, c := range []struct {
		option  string
		typ     Type
		creator string
		exact   bool
	}{
		{"subformat=fixed", Fixed, "qemu 5.3", false},
		{"subformat=dynamic", Dynamic, "qemu 5.3", false},
		{"subformat=fixed,force_size=on", Fixed, "qem2 5.3", true},
		{"subformat=dynamic,force_size=on", Dynamic, "qem2 5.3", true},
	} {
		t.Run(c.option, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "q.vhd")
			disktest.RawFile(t, path+".raw", raw)
			disktest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", c.option, path+".raw", path)
			im := openPath(t, path)
			info := im.Info()
			if info.Type != c.typ || info.Creator != c.creator || (info.VirtualSize == int64(len(raw))) != c.exact {
				t.Errorf("info %+v", info)
			}
			d := openDisk(t, im, nil)
			disktest.Run(t, "qemu-img", "convert", "-f", "vpc", "-O", "raw", path, path+".back")
			back, err := os.ReadFile(path + ".back")
			if err != nil {
				t.Fatal(err)
			}
			disktest.Same(t, d, bytes.NewReader(back), "qemu-img convert")
			disktest.Same7zz(t, "vhd", d, path)
			if !bytes.Equal(back[:len(raw)], raw) {
				t.Fatal("differs from the raw disk")
			}
			checkExtents(t, d, im.r, nil, 0, d.Size())

			disktest.RandomReads(t, d, raw)
		})
	}
}

// TestCreatorSize is the rule by which a creator's size is found.
func TestCreatorSize(t *testing.T) {
	const current = 41 << 20
	small := Geometry{964, 5, 17}
	for _, c := range []struct {
		creator string
		chs     Geometry
		want    int64
	}{
		{"vpc ", small, small.Size()},
		{"vs  ", small, small.Size()},
		{"qemu", small, small.Size()},
		{"qemu", maxGeometry, current},
		{"vpc ", Geometry{}, current},
		{"vpc ", Geometry{5000, 16, 63}, current}, // more than there is
		{"win ", small, current},
		{"qem2", small, current},
		{"d2v ", small, current},
		{"tap\x00", small, current},
		{"CTXS", small, current},
		{"vbox", small, current},
	} {
		p := disktest.Unpack(t, "win8.vhd")
		eachFooter(p, func(f []byte) {
			copy(f[28:], c.creator)
			be.PutUint64(f[48:], current)
			be.PutUint16(f[56:], c.chs.Cylinders)
			f[58], f[59] = c.chs.Heads, c.chs.SectorsPerTrack
		})
		be.PutUint32(p[512+28:], 21)
		resealHeader(p)
		info := openBytes(t, p).Info()
		if info.VirtualSize != c.want || info.CurrentSize != current {
			t.Errorf("%q with %+v: %d bytes, want %d", c.creator, c.chs, info.VirtualSize, c.want)
		}
	}
}

// TestGeometry checks the CHS calculation against qemu-img's.
func TestGeometry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "g.vhd")
	for _, size := range []int64{1 << 20, 3 << 20, 40 << 20, 500 << 20, 504 << 20, 1 << 30, 5 << 30, 31 << 30, 32 << 30, 60 << 30, 126 << 30} {
		disktest.Run(t, "qemu-img", "create", "-q", "-f", "vpc", path, fmt.Sprint(size))
		// QEMU rounds the size up to the next that a geometry holds exactly.
		if info := openPath(t, path).Info(); geometryOf(info.VirtualSize) != info.Geometry {
			t.Errorf("%d bytes: %+v, qemu-img %+v", info.VirtualSize, geometryOf(info.VirtualSize), info.Geometry)
		}
	}
	for size, want := range map[int64]Geometry{
		512:         {0, 4, 17},
		127 << 30:   {65278, 16, 255},
		MaxSize:     maxGeometry,
		MaxSize + 1: maxGeometry,
	} {
		if got := geometryOf(size); got != want {
			t.Errorf("%d bytes: %+v, want %+v", size, got, want)
		}
	}
}

// TestDamagedFooter reads images whose footer or footer copy is damaged.
func TestDamagedFooter(t *testing.T) {
	dynamic := disktest.Unpack(t, "ntfs-dynamic.vhd")
	want := disktest.ReadAll(t, openDisk(t, openBytes(t, dynamic), nil))
	end := len(dynamic) - footerSize
	for _, c := range []struct {
		name   string
		change func(p []byte) []byte
		text   string
	}{
		{"footer flipped", func(p []byte) []byte { p[end+100] ^= 1; return p }, "footer at offset 0x403e00: found checksum"},
		{"footer wiped", func(p []byte) []byte { clear(p[end:]); return p }, "footer at offset 0x403e00: found cookie"},
		{"footer cut off", func(p []byte) []byte { return p[:end] }, "footer at offset 0x403c00: found cookie"},
		{"garbage behind the footer", func(p []byte) []byte { return append(p, make([]byte, 1000)...) }, "the copy at offset 0 is used"},
		{"copy flipped", func(p []byte) []byte { p[100] ^= 1; return p }, "footer copy at offset 0x0: found checksum"},
		{"copy wiped", func(p []byte) []byte { clear(p[:512]); return p }, "the footer at the end of the file is used"},
		{"copy older", func(p []byte) []byte {
			p[24]++
			be.PutUint32(p[footerChecksum:], checksum(p[:512], footerChecksum))
			return p
		}, "differs from the footer at offset 0x403e00"},
		{"saved state", func(p []byte) []byte { eachFooter(p, func(f []byte) { f[84] = 1 }); return p }, "virtual machine was saved"},
		{"no geometry", func(p []byte) []byte { eachFooter(p, func(f []byte) { clear(f[56:60]) }); return p }, "expected one like {120 4 17}"},
		{"geometry too big", func(p []byte) []byte { eachFooter(p, func(f []byte) { f[56]++ }); return p }, "13090816 bytes, expected at most the current size of 4194304"},
		{"511 bytes of footer", func(p []byte) []byte {
			eachFooter(p, func(f []byte) { copy(f[28:], "vpc \xff\xff"); copy(f[56:], "\xff\xff\x10\xff") })
			return p[:len(p)-1]
		}, ""},
		{"cut by a byte", func(p []byte) []byte { return p[:len(p)-1] }, "the file ends after 511 of 512 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := openBytes(t, c.change(slices.Clone(dynamic)))
			warnings := im.Info().Warnings
			if c.text == "" && len(warnings) != 0 || c.text != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], c.text)) {
				t.Errorf("warnings %q, want %q", warnings, c.text)
			}
			if !bytes.Equal(disktest.ReadAll(t, openDisk(t, im, nil)), want) {
				t.Error("disk differs")
			}
		})
	}
}

// TestClearBits reads sectors of a dynamic image as zeros that its bitmap does
// not have, whatever lies in the file. (7-Zip refuses such a file, QEMU reads
// what lies there; the specification says that they were never written.)
func TestClearBits(t *testing.T) {
	p := disktest.Unpack(t, "ntfs-dynamic.vhd")
	want := disktest.ReadAll(t, openDisk(t, openBytes(t, p), nil))
	const bitmap = 0xf * SectorSize
	p[bitmap] = 0x2f // sectors 0, 1 and 3
	clear(want[:2*SectorSize])
	clear(want[3*SectorSize:][:SectorSize])
	d := openDisk(t, openBytes(t, p), nil)
	if !bytes.Equal(disktest.ReadAll(t, d), want) {
		t.Error("disk differs")
	}
	if got := checkExtents(t, d, bytes.NewReader(p), nil, 0, d.Size()); len(got) != 5 {
		t.Errorf("extents %+v", got)
	}
}
