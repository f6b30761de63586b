package bootconv

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"imageport/engine/disk/gpt"
	"imageport/engine/windows/hive"
	"imageport/job"
)

// An image that a boot entry needs may lie on System Reserved under any name:
// the partition is not given away then, and the ESP goes elsewhere.
func TestSystemReservedThatEntriesNeedStays(t *testing.T) {
	d := openSpec(t, named(t, "Windows RE in System Reserved"))
	im, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	im.system.hasWinRE = false // as if its image were called something else
	opt := Options{Shrinker: resizer{}}
	p, err := im.Plan(t.Context(), seed, opt)
	if err != nil {
		t.Fatal(err)
	}
	if p.ESP.Placement != job.PlaceShrink {
		t.Errorf("the ESP is placed by %s", p.ESP.Placement)
	}
	opt.ESPPlacement = []job.ESPPlacement{job.PlaceReuse}
	if _, err := im.Plan(t.Context(), seed, opt); job.CodeOf(err) != job.NoSpaceForESP {
		t.Errorf("reuse insisted on: %v", err)
	}
}

// A System Reserved at the end of the disk becomes the ESP as far as the backup
// partition table leaves it: what is overwritten need not shrink before.
func TestReuseAtTheEndOfTheDisk(t *testing.T) {
	im, err := Inspect(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	im.volumes = slices.DeleteFunc(im.volumes, func(v *volume) bool { return v != im.system && v != im.windows })
	sectors := uint64(im.disk.Size() / 512)
	im.system.Sectors = 200 * mib / 512
	im.system.FirstLBA = sectors - im.system.Sectors
	im.windows.Sectors = im.system.FirstLBA - im.windows.FirstLBA // no gap
	opt := Options{UEFIOptions: job.UEFIOptions{ESPPlacement: []job.ESPPlacement{job.PlaceReuse}}}
	p := &planner{Image: im, ctx: t.Context(), opt: opt, seed: seed, Plan: &Plan{modify: im.modified()}}
	p.table.SectorSize, p.table.Sectors, p.table.DiskGUID = 512, sectors, seed
	for _, step := range []func() error{p.chooseBootFiles, p.makeRoom, p.placeESP, p.planTable} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.Shrinks) != 0 {
		t.Errorf("%+v", p.Shrinks)
	}
	if end := p.ESP.FirstLBA + p.ESP.Sectors; p.ESP.FirstLBA != im.system.FirstLBA || end != p.align(p.table.LastUsable()+1) {
		t.Errorf("the ESP is sectors %d to %d", p.ESP.FirstLBA, end-1)
	}
}

// never is a shrinker that must not be asked.
type never struct{ t *testing.T }

func (n never) Try(_ context.Context, _ io.ReaderAt, size, newSize int64) (ShrinkEffect, error) {
	n.t.Errorf("asked to shrink %d bytes to %d", size, newSize)
	return ShrinkEffect{}, nil
}

func (n never) Shrink(context.Context, ReadWriterAt, int64, int64, func(done, total int64)) error {
	n.t.Error("asked to shrink")
	return nil
}

// A partition of less than 1 MiB at the very end cannot give way.
func TestTinyPartitionAtTheEnd(t *testing.T) {
	im, err := Inspect(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	last := im.byStart()[len(im.volumes)-1]
	last.FirstLBA, last.Sectors = uint64(im.disk.Size()/512)-1000, 1000
	_, err = im.Plan(t.Context(), seed, Options{Shrinker: never{t}})
	if job.CodeOf(err) != job.NoRoomForGPT {
		t.Errorf("got %v", err)
	}
}

// Windows is on a volume of Windows, whatever its type in the MBR was.
func TestWindowsIsBasicData(t *testing.T) {
	for name, opt := range map[string]job.UEFIOptions{
		"type 0x27":      {},
		"said to be OEM": {PartitionTypes: map[string]string{"0x7": job.PartitionOEM, "0x27": job.PartitionOEM}},
	} {
		t.Run(name, func(t *testing.T) {
			im, err := Inspect(newDisk(t))
			if err != nil {
				t.Fatal(err)
			}
			if name == "type 0x27" {
				im.windows.Type = 0x27
			}
			p, err := im.Plan(t.Context(), seed, Options{UEFIOptions: opt})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.table.Entries {
				if e.ID == p.osID && (e.Type.String() != "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7" || e.Attributes != 0) {
					t.Errorf("C: has type %v and attributes %#x", e.Type, e.Attributes)
				}
			}
		})
	}
}

// A GPT that cannot be written is found out while planning.
func TestTableIsValid(t *testing.T) {
	im, err := Inspect(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	im.volumes[len(im.volumes)-1].Index = 127 // the ESP would be number 129
	opt := Options{UEFIOptions: job.UEFIOptions{ESPPlacement: []job.ESPPlacement{job.PlaceShrink}}, Shrinker: resizer{}}
	if _, err := im.Plan(t.Context(), seed, opt); job.CodeOf(err) != job.UnsupportedLayout {
		t.Errorf("got %v", err)
	}
}

// A generalised Windows may have no MountedDevices: it makes them when it starts.
func TestNoMountedDevices(t *testing.T) {
	im, err := Inspect(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	root := &hive.Key{Name: "ROOT"}
	root.Create("Setup")
	b, err := hive.Build(root, hive.BuildOptions{Minor: 5, Modified: time.Unix(1_700_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	im.systemOld, im.systemHive = b, b
	p, err := im.Plan(t.Context(), seed, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Registry) != 0 || slices.ContainsFunc(p.edits, func(e fileEdit) bool { return e.path == pathSystem }) {
		t.Errorf("%+v", p.Registry)
	}
}

// Resources beside a program of 2023 carry its name: they follow it.
func TestNames2023(t *testing.T) {
	for from, to := range map[string]string{
		"EFI/Microsoft/Boot/bootmgfw_EX.efi":          "EFI/Microsoft/Boot/bootmgfw.efi",
		"EFI/Microsoft/Boot/en-US/bootmgr_EX.efi.mui": "EFI/Microsoft/Boot/en-US/bootmgr.efi.mui",
		"EFI/Microsoft/Boot/Fonts/wgl4_boot_ex.ttf":   "EFI/Microsoft/Boot/Fonts/wgl4_boot.ttf",
		"EFI/Microsoft/Boot/boot.stl":                 "EFI/Microsoft/Boot/boot.stl",
		"EFI/Microsoft/Boot/SomethingElse":            "EFI/Microsoft/Boot/SomethingElse",
	} {
		if got := without2023(from); got != to {
			t.Errorf("%s becomes %s, want %s", from, got, to)
		}
	}
}

// A hive that makes no sense before its logs are applied is read with them; one
// that was written to its end, but is damaged, is not said to be completed.
func TestParseHive(t *testing.T) {
	c := func(t *testing.T, layout string, change func([]byte) []byte) *volume {
		d := openSpec(t, named(t, layout))
		edit(t, d, windowsPartition, pathSystem, change)
		mbr, err := gpt.ReadMBR(d)
		if err != nil {
			t.Fatal(err)
		}
		v, err := openVolume(d, mbr.Partitions[windowsPartition])
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	lost := c(t, "hive with transaction logs", func(b []byte) []byte {
		clear(b[:512]) // the base block
		return b
	})
	if h, err := lost.parseHive(pathSystem); err != nil {
		t.Error(err)
	} else if _, err := h.Lookup("MountedDevices"); err != nil {
		t.Error(err)
	}
	damaged := c(t, "ordinary", func(b []byte) []byte {
		clear(b[4096:4100]) // the signature of the first bin
		return b
	})
	if _, err := damaged.parseHive(pathSystem); job.CodeOf(err) != job.HiveCorrupt {
		t.Errorf("damaged: %v", err)
	}
	if _, _, replayed, err := damaged.readHive(pathSystem); job.CodeOf(err) != job.HiveCorrupt {
		t.Errorf("damaged: %q, %v", replayed, err)
	}
}
