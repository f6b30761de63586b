package bootconv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/job"
	"imageport/testkit/winimage"
)

// named gives one of the layouts.
func named(t *testing.T, name string) winimage.Spec {
	t.Helper()
	for _, l := range winimage.Layouts() {
		if l.Name == name {
			return l.Spec
		}
	}
	t.Fatalf("there is no layout %q", name)
	return winimage.Spec{}
}

// TestPlanRefuses has plans refused for what no disk of ours shows.
func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   job.Code
		opt    job.UEFIOptions
		change func(t *testing.T, im *Image)
	}{
		{"boot files that fill the disk", job.BootFilesTooBig, job.UEFIOptions{}, func(_ *testing.T, im *Image) {
			im.boot = append(im.boot, bootFile{BootFile: BootFile{Target: "EFI/Microsoft/Boot/huge", Size: 2 << 30}, data: bytes.NewReader(nil)})
		}},
		{"hive without room for longer values", job.HiveNoSpace, job.UEFIOptions{}, func(t *testing.T, im *Image) {
			root := &hive.Key{Name: "ROOT"}
			key := root.Create("MountedDevices")
			mbr := binary.LittleEndian.AppendUint32(nil, im.mbr.Signature)
			mbr = binary.LittleEndian.AppendUint64(mbr, uint64(im.windows.offset()))
			for i := range 600 {
				key.Set(hive.Bytes(fmt.Sprintf(`\??\Volume{%d}`, i), mbr))
			}
			b, err := hive.Build(root, hive.BuildOptions{Minor: 5, Modified: time.Unix(1_700_000_000, 0)})
			if err != nil {
				t.Fatal(err)
			}
			im.systemOld, im.systemHive = b, b
		}},
		{"GUID for an unknown type that is none", job.BadRequest, job.UEFIOptions{PartitionTypes: map[string]string{"7": "something"}}, func(*testing.T, *Image) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			im, err := Inspect(newDisk(t))
			if err != nil {
				t.Fatal(err)
			}
			c.change(t, im)
			if _, err := im.Plan(t.Context(), seed, Options{UEFIOptions: c.opt, Shrinker: resizer{}}); job.CodeOf(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

// Nothing can shrink without a shrinker, and what is full cannot at all.
func TestShrinkRefused(t *testing.T) {
	im, err := Inspect(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	shrink := job.UEFIOptions{ESPPlacement: []job.ESPPlacement{job.PlaceShrink}}
	if _, err := im.Plan(t.Context(), seed, Options{UEFIOptions: shrink}); job.CodeOf(err) != job.ToolMissing {
		t.Errorf("without a shrinker: %v", err)
	}
	for _, r := range winimage.Refusals() {
		if r.Code != string(job.NoSpaceForESP) {
			continue
		}
		full, err := Inspect(openSpec(t, r.Spec))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := full.Plan(t.Context(), seed, Options{UEFIOptions: shrink, Shrinker: resizer{}}); job.CodeOf(err) != job.ShrinkBlocked {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
}

// TestPartitionTypes converts a disk with a partition of an unknown type once
// somebody has said what it is.
func TestPartitionTypes(t *testing.T) {
	for _, r := range winimage.Refusals() {
		if r.Code != string(job.UnknownPartitionType) {
			continue
		}
		im, err := Inspect(openSpec(t, r.Spec))
		if err != nil {
			t.Fatal(err)
		}
		for said, want := range map[string]string{
			job.PartitionData:                      "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
			job.PartitionRecovery:                  "de94bba4-06d1-4d40-a16a-bfd50179d6ac",
			job.PartitionOEM:                       "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
			"0fc63daf-8483-4772-8e79-3d69d8477de4": "0fc63daf-8483-4772-8e79-3d69d8477de4",
		} {
			p, err := im.Plan(t.Context(), seed, Options{UEFIOptions: job.UEFIOptions{PartitionTypes: map[string]string{"0x83": said}}, Shrinker: resizer{}})
			if err != nil {
				t.Errorf("%s: %v", said, err)
				continue
			}
			found := false
			for _, a := range p.After {
				for _, b := range p.Before {
					found = found || b.Type == "0x83" && b.Number == a.Number && a.Type == want
				}
			}
			if !found {
				t.Errorf("%s: %+v", said, p.After)
			}
		}
	}
}

// TestEditRefused does not edit files in place that are compressed.
func TestEditRefused(t *testing.T) {
	im, err := Inspect(openSpec(t, named(t, "boot files by LZX")))
	if err != nil {
		t.Fatal(err)
	}
	f, err := im.windows.NTFS.Open(pathBootMgr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(Plan).changes(im.windows.NTFS, fileEdit{pathBootMgr, make([]byte, f.Size())}); job.CodeOf(err) != job.FileNotEditableInPlace {
		t.Errorf("got %v", err)
	}
}

// TestBootManager2023 puts the files of 2023 in place of the others.
func TestBootManager2023(t *testing.T) {
	d := openSpec(t, named(t, "boot files by XPRESS, those of 2023 too"))
	im, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	sources := func(manager job.BootManager) map[string]string {
		opt := Options{UEFIOptions: job.UEFIOptions{BootManager: manager}}
		p, err := im.Plan(t.Context(), seed, opt)
		if err != nil {
			t.Fatal(err)
		}
		checkConversion(t, d, im, p, opt)
		m := map[string]string{}
		for _, f := range p.BootFiles {
			m[f.Target] = f.Source
		}
		return m
	}
	old, new := sources(job.BootManager2011), sources(job.BootManager2023)
	if old[espBootMgr] != pathBootMgr || old[espFallback] != pathBootMgr {
		t.Errorf("2011: %s, %s", old[espBootMgr], old[espFallback])
	}
	const ex = `\Windows\Boot\EFI_EX\bootmgfw_EX.efi`
	if new[espBootMgr] != ex || new[espFallback] != ex || len(new) < len(old) {
		t.Errorf("2023: %s, %s, %d files instead of %d", new[espBootMgr], new[espFallback], len(new), len(old))
	}
}

// TestNothingOutsideThePlan: a defect that writes elsewhere is stopped.
func TestNothingOutsideThePlan(t *testing.T) {
	d := newDisk(t)
	im, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		damage func(p *Plan)
	}{
		{"a longer file", func(p *Plan) { p.Writes = nil }},
		{"an ESP that grew", func(p *Plan) { p.boot[0].Size = 1 << 40 }},
	} {
		p, err := im.Plan(t.Context(), seed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.damage(p)
		out := overlay.New(d)
		if err := im.Apply(t.Context(), p, out, nil, func(string, int64, int64) {}); err == nil {
			t.Errorf("%s: applied", c.name)
		}
	}
	out := overlay.New(d)
	g := guarded{out, []Write{{"x", 4096, 8192}}}
	for _, w := range []struct{ off, n int64 }{{0, 512}, {4095, 2}, {8192, 4097}, {1 << 30, 1}} {
		if _, err := g.WriteAt(make([]byte, w.n), w.off); job.CodeOf(err) != job.Internal {
			t.Errorf("%d bytes at %d: %v", w.n, w.off, err)
		}
		if _, err := (window{out, 4096, 8192}).WriteAt(make([]byte, w.n), w.off+8192); w.off > 0 && job.CodeOf(err) != job.Internal {
			t.Errorf("window: %d bytes at %d: %v", w.n, w.off, err)
		}
	}
	if out.DirtyBytes() != 0 {
		t.Errorf("%d bytes were written", out.DirtyBytes())
	}
}
