package bootconv

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
	"imageport/testkit/winimage"
)

// rawDisk is a disk in a raw file.
type rawDisk struct {
	*os.File
	size int64
}

func (d rawDisk) Size() int64     { return d.size }
func (d rawDisk) SectorSize() int { return 512 }

// newDisk gives a small Windows disk that may be changed.
func newDisk(t *testing.T) *overlay.Overlay {
	t.Helper()
	img, err := winimage.Cached(t.Context(), winimage.Small())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(img.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return overlay.New(rawDisk{f, img.Spec.SizeBytes})
}

var seed = uuid.MustParse("6ba7b814-9dad-11d1-80b4-00c04fd430c8")

// convert inspects, plans and applies.
func convert(t *testing.T, d *overlay.Overlay) (*Image, *Plan, *overlay.Overlay) {
	t.Helper()
	im, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	p, err := im.Plan(seed)
	if err != nil {
		t.Fatal(err)
	}
	out := overlay.New(d)
	if err := im.Apply(t.Context(), p, out, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	return im, p, out
}

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
	old, err := readFile(v, path)
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
			im, p, out := convert(t, d)
			if err := im.Verify(t.Context(), p, out); err != nil {
				t.Error(err)
			}
			if again, err := im.Plan(seed); err != nil || again.Digest() != p.Digest() {
				t.Errorf("the same disk and seed gave another plan: %v", err)
			}
		})
	}
}

// A verification that cannot fail would prove nothing.
func TestVerifyFails(t *testing.T) {
	espFile := func(t *testing.T, p *Plan, out *overlay.Overlay, path string) ([]byte, func([]byte)) {
		t.Helper()
		fs, err := fat32.Open(p.section(out, p.ESP.ID))
		if err != nil {
			t.Fatal(err)
		}
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, f.Size())
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		at := find(t, out, p, b)
		return b, func(b []byte) {
			if _, err := out.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name     string
		sabotage func(t *testing.T, im *Image, p *Plan, out *overlay.Overlay)
	}{
		{"backup partition table missing", func(t *testing.T, _ *Image, _ *Plan, out *overlay.Overlay) {
			write(t, out, make([]byte, 512), out.Size()-512)
		}},
		{"primary partition table damaged", func(t *testing.T, _ *Image, _ *Plan, out *overlay.Overlay) {
			write(t, out, []byte{1}, 2*512+100)
		}},
		{"another disk GUID", func(t *testing.T, _ *Image, p *Plan, out *overlay.Overlay) {
			other := p.After
			other.DiskGUID = uuid.Max
			if err := other.Write(out); err != nil {
				t.Fatal(err)
			}
		}},
		{"MBR still there", func(t *testing.T, im *Image, _ *Plan, out *overlay.Overlay) {
			sector := make([]byte, 512)
			if _, err := im.disk.ReadAt(sector, 0); err != nil {
				t.Fatal(err)
			}
			write(t, out, sector, 0)
		}},
		{"boot manager differs by a byte", func(t *testing.T, _ *Image, p *Plan, out *overlay.Overlay) {
			b, put := espFile(t, p, out, espFallback)
			b[len(b)/2]++
			put(b)
		}},
		{"boot store not converted", func(t *testing.T, im *Image, p *Plan, out *overlay.Overlay) {
			_, put := espFile(t, p, out, espStore)
			put(im.store[:min(len(im.store), len(p.store))])
		}},
		{"SYSTEM as it was", func(t *testing.T, im *Image, p *Plan, out *overlay.Overlay) {
			for _, e := range p.edits {
				b := make([]byte, len(e.data))
				if _, err := im.disk.ReadAt(b, e.offset); err != nil {
					t.Fatal(err)
				}
				write(t, out, b, e.offset)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			im, p, out := convert(t, newDisk(t))
			c.sabotage(t, im, p, out)
			if err := im.Verify(t.Context(), p, out); job.CodeOf(err) != job.VerifyFailed {
				t.Errorf("got %v", err)
			}
		})
	}
}

func write(t *testing.T, out *overlay.Overlay, b []byte, at int64) {
	t.Helper()
	if _, err := out.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// find gives where on the disk a file of the ESP begins: files are contiguous
// and begin with a sector. The last one is taken, as the boot manager is there
// twice.
func find(t *testing.T, out *overlay.Overlay, p *Plan, b []byte) int64 {
	t.Helper()
	section, size := p.section(out, p.ESP.ID)
	esp := make([]byte, size)
	if _, err := section.ReadAt(esp, 0); err != nil {
		t.Fatal(err)
	}
	for at := size - int64(len(b)); at >= 0; at-- {
		if at%512 == 0 && bytes.Equal(esp[at:at+int64(len(b))], b) {
			return int64(p.ESP.FirstLBA)*512 + at
		}
	}
	t.Fatal("the file is not on the ESP")
	return 0
}
