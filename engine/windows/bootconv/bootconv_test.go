package bootconv

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/testkit/winimage"
)

// newDisk gives a small Windows disk that may be changed.
func newDisk(t *testing.T) *overlay.Overlay {
	t.Helper()
	return openSpec(t, winimage.Small())
}

var seed = uuid.MustParse("6ba7b814-9dad-11d1-80b4-00c04fd430c8")

// partition gives the n-th partition of an MBR disk.
func partition(t *testing.T, d disk.Disk, n int) (*ntfs.Volume, int64) {
	t.Helper()
	mbr, err := gpt.ReadMBR(d)
	if err != nil {
		t.Fatal(err)
	}
	off, size := int64(mbr.Partitions[n].FirstLBA)*512, int64(mbr.Partitions[n].Sectors)*512
	v, err := ntfs.Open(disk.Section(d, off, size), size)
	if err != nil {
		t.Fatal(err)
	}
	return v, off
}

// edit replaces a file in place; the new contents are padded to its length.
func edit(t *testing.T, d *overlay.Overlay, n int, path string, change func([]byte) []byte) {
	t.Helper()
	v, off := partition(t, d, n)
	old, err := (&volume{Volume: &offline.Volume{NTFS: v}}).read(path, hiveLimit)
	if err != nil {
		t.Fatal(err)
	}
	size := len(old)
	b := change(old)
	if len(b) > size {
		t.Fatalf("%s would have %d bytes instead of %d", path, len(b), size)
	}
	b = append(b, make([]byte, size-len(b))...)
	f, err := v.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		if _, err := d.WriteAt(b[e.FileOffset:e.FileOffset+e.Length], off+e.VolumeOffset); err != nil {
			t.Fatal(err)
		}
	}
}

// The partitions of the small disk.
const (
	systemPartition  = 0
	windowsPartition = 1
)

func TestConverts(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, d *overlay.Overlay)
	}{
		{"as Windows Setup leaves it", func(*testing.T, *overlay.Overlay) {}},
		{"default entry that locates its Windows (a generalised image)", func(t *testing.T, d *overlay.Overlay) {
			edit(t, d, systemPartition, pathBCD, func(b []byte) []byte {
				store, _, err := bcd.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				summary, err := bcd.Inspect(b)
				if err != nil {
					t.Fatal(err)
				}
				entry, _ := store.Object(summary.Default)
				entry.SetDevice(bcd.ElementDevice, bcd.LocateDevice(bcd.ElementPath))
				entry.SetDevice(bcd.ElementOSDevice, bcd.LocateDevice(bcd.ElementSystemRoot))
				b, err = hive.Build(store.Root(), hive.BuildOptions{Minor: 3, Modified: time.Unix(1700000000, 0)})
				if err != nil {
					t.Fatal(err)
				}
				return b
			})
		}},
		{"no drive letter for C:", func(t *testing.T, d *overlay.Overlay) {
			edit(t, d, windowsPartition, pathSystem, func(b []byte) []byte {
				h, err := hive.Parse(b)
				if err != nil {
					t.Fatal(err)
				}
				key, err := h.Lookup("MountedDevices")
				if err != nil {
					t.Fatal(err)
				}
				deleted := 0
				for _, v := range key.Values {
					if v.Name == `\DosDevices\C:` || v.Name == `\??\Volume{7a11c0de-0000-0000-0000-500600000000}` {
						if err := h.DeleteValue([]string{"MountedDevices"}, v.Name); err != nil {
							t.Fatal(err)
						}
						deleted++
					}
				}
				if deleted == 0 {
					t.Fatal("there was no drive letter")
				}
				h.Commit(time.Unix(1700000000, 0))
				return h.Bytes()
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t)
			c.change(t, d)
			im, err := Inspect(d)
			if err != nil {
				t.Fatal(err)
			}
			p, err := im.Plan(t.Context(), seed, Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkConversion(t, d, im, p, Options{})
		})
	}
}
