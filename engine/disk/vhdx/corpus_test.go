package vhdx

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/testkit/disktest"
)

// TestCorpus decodes images made by Windows 10 and by QEMU; the hashes are
// 7-Zip's.
func TestCorpus(t *testing.T) {
	for _, c := range []struct {
		name, parent string
		hash         string // first digits of the SHA-256 of the disk
		typ          Type
		size         int64
		block        uint32
		physical     int
		creator      string
	}{
		{"ntfs-fixed.vhdx", "", "5237dd89", Fixed, 4 << 20, 2 << 20, 4096, "Microsoft Windows 10.0.19041.0"},
		{"ntfs-dynamic.vhdx", "", "b92731f8", Dynamic, 4 << 20, 32 << 20, 4096, "Microsoft Windows 10.0.19041.0"},
		{"ntfs-parent.vhdx", "", "c5523065", Fixed, 4 << 20, 2 << 20, 4096, "Microsoft Windows 10.0.19041.0"},
		{"ntfs-differential.vhdx", "ntfs-parent.vhdx", "1ef1fb53", Differencing, 4 << 20, 2 << 20, 4096, "Microsoft Windows 10.0.19041.0"},
		{"ext2.vhdx", "", "a6c2f0e3", Dynamic, 4 << 20, 8 << 20, 512, "QEMU v5.2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := openBytes(t, disktest.Unpack(t, c.name))
			info := im.Info()
			if info.Type != c.typ || info.VirtualSize != c.size || info.BlockSize != c.block ||
				info.LogicalSectorSize != 512 || info.PhysicalSectorSize != c.physical || info.Creator != c.creator {
				t.Errorf("info %+v", info)
			}
			d, err := im.Disk(nil)
			if c.parent != "" {
				if !errors.Is(err, ErrParentMismatch) {
					t.Fatalf("without parent: %v", err)
				}
				parent := openBytes(t, disktest.Unpack(t, c.parent))
				if err := VerifyParent(info, parent.Info()); err != nil {
					t.Fatal(err)
				}
				if info.VirtualDiskID != parent.Info().VirtualDiskID {
					t.Error("virtual disk ID differs from the parent's")
				}
				d, err = im.Disk(openDisk(t, parent, nil))
			}
			if err != nil {
				t.Fatal(err)
			}
			if hash := fmt.Sprintf("%x", sha256.Sum256(disktest.ReadAll(t, d))); !strings.HasPrefix(hash, c.hash) {
				t.Errorf("disk has SHA-256 %s, want %s…", hash, c.hash)
			}
		})
	}
}

// TestWindowsChild pins what a child made by Windows says, in Windows' terms.
func TestWindowsChild(t *testing.T) {
	p := disktest.Unpack(t, "ntfs-differential.vhdx")
	info := openBytes(t, p).Info()
	want := ParentLocator{
		Linkage:      uuid.MustParse("7584f8fb-36d3-4091-afb5-b1afe587bfa8"),
		RelativePath: `.\ntfs-parent.vhdx`,
		VolumePath:   `\\?\Volume{9cdf8dfa-0000-0000-0000-501f00000000}\Projects\dfvfs\test_data\ntfs-parent.vhdx`,
		AbsolutePath: `C:\Projects\dfvfs\test_data\ntfs-parent.vhdx`,
	}
	if info.Parent == nil || *info.Parent != want {
		t.Errorf("parent locator %+v", info.Parent)
	}
	if info.DataWriteGUID != uuid.MustParse("305abbc8-cef4-45ea-aee8-42ee5c891b06") {
		t.Errorf("data write GUID %s", info.DataWriteGUID)
	}
	if info.SequenceNumber != 11 {
		t.Errorf("sequence number %d", info.SequenceNumber)
	}
	id, err := ReadIdentity(bytes.NewReader(p), int64(len(p)))
	if err != nil || id != info.DataWriteGUID {
		t.Errorf("ReadIdentity = %s, %v", id, err)
	}
}

// TestQEMU compares fixed and dynamic images made by qemu-img with the raw
// disk, in whole and in random ranges.
func TestQEMU(t *testing.T) {
	raw := make([]byte, 41<<20+512*7)
	disktest.Fill(raw, 0, 1<<20, 1)
	disktest.Fill(raw, 9<<20+512, 3<<20, 2)
	disktest.Fill(raw, 40<<20, 1<<20+512*7, 3)
	for subformat, typ := range map[string]Type{"fixed": Fixed, "dynamic": Dynamic} {
		t.Run(subformat, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "q.vhdx")
			qemuImage(t, path, raw, subformat)
			im := openPath(t, path)
			if got := im.Info().Type; got != typ {
				t.Errorf("type %s", got)
			}
			d := openDisk(t, im, nil)
			back := path + ".back"
			disktest.Run(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, back)
			f, err := os.Open(back)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			disktest.Same(t, d, f, "qemu-img convert")
			if got := disktest.ReadAll(t, d); !bytes.Equal(got[:len(raw)], raw) {
				t.Error("differs from the raw disk")
			}

			disktest.RandomReads(t, d, raw)
		})
	}
}

func TestReadBounds(t *testing.T) {
	d := openDisk(t, openBytes(t, disktest.Unpack(t, "ntfs-fixed.vhdx")), nil)
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
}
