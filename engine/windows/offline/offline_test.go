package offline

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

const mib = 1 << 20

// image gives a disk with a Windows on its only partition, or as changed.
func image(t *testing.T, change func(s *winimage.Spec)) (winimage.Image, disk.Disk) {
	t.Helper()
	spec := winimage.Spec{SizeBytes: 128 * mib, BootFiles: winimage.SmallBootFiles}
	if change != nil {
		change(&spec)
	}
	img, d := windisk.Cached(t, spec)
	return img, d
}

// A table has the partitions that the image was made with, and no containers.
func TestReadTable(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(s *winimage.Spec)
		style   Style
		dynamic bool
	}{
		"MBR": {nil, MBR, false},
		"logical partitions": {func(s *winimage.Spec) {
			*s = winimage.Small()
			s.Data = []winimage.Data{{Letter: "D", MiB: 48, Logical: true}}
			s.RecoveryLogical, s.ToLastSector = true, true
		}, MBR, false},
		"sectors of 4 KiB": {func(s *winimage.Spec) { s.SectorSize = 4096 }, MBR, false},
		"GPT":              {func(s *winimage.Spec) { s.AlreadyGPT = true }, GPT, false},
		"none":             {func(s *winimage.Spec) { s.NoMBR = true }, NoTable, false},
		"dynamic":          {func(s *winimage.Spec) { s.DynamicDisk = true }, MBR, true},
	} {
		t.Run(name, func(t *testing.T) {
			img, d := image(t, c.change)
			table, err := ReadTable(d)
			if err != nil || table.Style != c.style || table.Dynamic != c.dynamic {
				t.Fatalf("%+v, %v", table, err)
			}
			var want []Partition
			for _, p := range img.Partitions {
				if p.Role == winimage.Extended {
					continue
				}
				want = append(want, Partition{Number: p.Number, Offset: p.StartBytes, Size: p.SizeBytes})
			}
			if c.style == NoTable || c.dynamic {
				want = nil
			}
			slices.SortFunc(want, func(a, b Partition) int { return a.Number - b.Number })
			if !slices.Equal(table.Partitions, want) {
				t.Errorf("%+v, want %+v", table.Partitions, want)
			}
		})
	}
	_, d := image(t, func(s *winimage.Spec) { s.SizeBytes, s.SystemReservedMiB, s.Overlap = 256*mib, 50, true })
	if _, err := ReadTable(d); job.CodeOf(err) != job.BadPartitionTable {
		t.Errorf("overlapping partitions: %v", err)
	}
}

// EFI system partitions and those of dynamic disks are told by their types.
func TestTypesOfGPT(t *testing.T) {
	img, _ := image(t, func(s *winimage.Spec) { s.AlreadyGPT, s.SizeBytes, s.FreeAtEndMiB = true, 160*mib, 48 })
	img, err := img.Clone(t.Context(), filepath.Join(t.TempDir(), "gpt.img"))
	if err != nil {
		t.Fatal(err)
	}
	sgdisk := func(args ...string) Table {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "sgdisk", append(args, img.Path)...).CombinedOutput(); err != nil {
			t.Fatalf("sgdisk: %v\n%s", err, out)
		}
		d := windisk.Open(t, img.Path, 512)
		table, err := ReadTable(d)
		if err != nil {
			t.Fatal(err)
		}
		if volumes, err := table.Volumes(t.Context(), d); err != nil || len(volumes) != 1 || !volumes[0].HasWindows {
			t.Fatalf("%+v, %v", volumes, err)
		}
		return table
	}
	table := sgdisk("--new=2:0:+8M", "--new=3:0:+8M", "--typecode=2:EF00", "--typecode=3:5808C8AA-7E8F-42E0-85D2-E1E90434CFB3")
	if p := table.Partitions; !table.Dynamic || len(p) != 2 || p[0].ESP || !p[1].ESP || p[1].Number != 2 || p[1].Size != 8*mib {
		t.Errorf("%+v", table)
	}
	table = sgdisk("--delete=3", "--typecode=2:AF9B60A0-1431-4F62-BC68-3311714A69AD")
	if p := table.Partitions; !table.Dynamic || len(p) != 1 {
		t.Errorf("%+v", table)
	}
}

// windows opens the Windows on a disk.
func windows(t *testing.T, change func(s *winimage.Spec)) (*Windows, *Volume, error) {
	t.Helper()
	_, d := image(t, change)
	table, err := ReadTable(d)
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := table.Volumes(t.Context(), d)
	if err != nil || len(volumes) != 1 {
		t.Fatalf("%+v, %v", volumes, err)
	}
	v := volumes[0]
	if !v.HasWindows {
		return nil, v, v.Err
	}
	w, err := v.OpenWindows()
	return w, v, err
}

func TestOpenWindows(t *testing.T) {
	for name, entries := range map[string]int{"written to its end": 0, "with logs": 2} {
		w, _, err := windows(t, func(s *winimage.Spec) { s.DirtySystemHiveWithLogs = entries > 0 })
		if err != nil {
			t.Fatal(err)
		}
		if w.Current != "ControlSet001" || !slices.Equal(w.ControlSets, []string{w.Current}) || w.System.Entries != entries || w.System.Dirty() || w.System.File.Size() != int64(len(w.System.Stored)) {
			t.Errorf("%s: %+v", name, w)
		}
		k, err := w.System.Find(w.Current, `Control\ComputerName\ComputerName`)
		if v, _ := k.Value("ComputerName"); err != nil || v.String() != "PVS-GOLD" {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
		software, err := w.OpenHive(PathSoftware)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := software.Release(); err != nil || r != (Release{Product: "Windows 10 Enterprise", Edition: "Enterprise", Version: "22H2", Build: 19045, CurrentBuild: "19045"}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if _, err := w.OpenHive(`\Windows\System32\config\SAM`); !errors.Is(err, ntfs.ErrNotFound) || job.CodeOf(err) != "" {
			t.Errorf("%s: no such hive: %v", name, err)
		}
		for path, want := range map[string]bool{`\windows\system32\NTOSKRNL.EXE`: true, `\Windows`: false, `\gone`: false} {
			if got, err := w.HasFile(path); got != want || err != nil {
				t.Errorf("%s: %s: %t, %v", name, path, got, err)
			}
		}
	}
}

// What Windows has not finished with is refused, with the place and what to do.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *winimage.Spec)
		want   job.Code
	}{
		{"hibernated", func(s *winimage.Spec) { s.Hibernated = true }, job.Hibernated},
		{"dirty NTFS", func(s *winimage.Spec) { s.DirtyNTFS = true }, job.NTFSDirty},
		{"damaged NTFS", func(s *winimage.Spec) { s.CorruptNTFS = true }, job.NTFSCorrupt},
		{"hive without its logs", func(s *winimage.Spec) { s.DirtySystemHive = true }, job.HiveDirty},
		{"hive with bad logs", func(s *winimage.Spec) { s.DirtySystemHiveBadLogs = true }, job.HiveDirty},
		{"damaged hive", func(s *winimage.Spec) { s.CorruptSystemHive = true }, job.HiveCorrupt},
	} {
		_, _, err := windows(t, c.change)
		if e, ok := errors.AsType[*job.Error](err); !ok || e.Code != c.want || e.Remedy == "" || !strings.Contains(e.Message, "partition 1") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, v, err := windows(t, func(s *winimage.Spec) { s.BitLocker = true }); v.Kind != ntfs.BitLocker || v.NTFS != nil || err != nil {
		t.Errorf("BitLocker: %+v, %v", v, err)
	}
}

// The control set that Windows starts with is Select's, if there is that one.
func TestControlSets(t *testing.T) {
	for _, c := range []struct {
		keys    []string
		values  []hive.Value
		current string
	}{
		{[]string{"ControlSet001", "ControlSet002"}, []hive.Value{hive.DWORD("Default", 2), hive.DWORD("Current", 1)}, "ControlSet002"},
		{[]string{"controlset001", "ControlSet003"}, []hive.Value{hive.DWORD("Default", 3)}, "ControlSet003"},
		{[]string{"ControlSet001", "ControlSet002"}, []hive.Value{hive.DWORD("Default", 7)}, "ControlSet001"},
		{[]string{"ControlSet001", "ControlSet002"}, []hive.Value{hive.SZ("Default", "2")}, "ControlSet001"},
		{[]string{"ControlSet002"}, nil, "ControlSet002"},
		{nil, nil, ""},
	} {
		root := &hive.Key{Name: "ROOT"}
		for _, name := range append([]string{"ControlSet1", "ControlSet0001", "MyControlSet001", "Setup"}, c.keys...) {
			root.Create(name)
		}
		for _, v := range c.values {
			root.Create("Select").Set(v)
		}
		h := parse(t, root)
		sets, current, err := h.controlSets()
		if c.current == "" {
			if err = h.Fault(err); job.CodeOf(err) != job.HiveCorrupt {
				t.Errorf("no control sets: %v", err)
			}
			continue
		}
		if err != nil || current != c.current || !slices.Equal(sets, c.keys) {
			t.Errorf("%q, %q, %v; want %q of %q", sets, current, err, c.current, c.keys)
		}
	}
}

func TestRelease(t *testing.T) {
	for _, c := range []struct {
		product, build, installation string
		want                         Release
	}{
		{"Windows 10 Pro", "22631", "Client", Release{Product: "Windows 11 Pro", Build: 22631, CurrentBuild: "22631"}},
		{"Windows Server 2025 Standard", "26100", "Server Core", Release{Product: "Windows Server 2025 Standard", Build: 26100, CurrentBuild: "26100", Server: true}},
		{"Windows 10 Pro", "many", "", Release{Product: "Windows 10 Pro", CurrentBuild: "many"}},
		{"", "-1", "", Release{CurrentBuild: "-1"}},
	} {
		root := &hive.Key{Name: "ROOT"}
		root.Create("Microsoft", "Windows NT", "CurrentVersion").
			Set(hive.SZ("ProductName", c.product)).Set(hive.SZ("CurrentBuild", c.build)).Set(hive.SZ("InstallationType", c.installation))
		if r, err := parse(t, root).Release(); err != nil || r != c.want {
			t.Errorf("%+v, %v; want %+v", r, err, c.want)
		}
	}
	h := parse(t, &hive.Key{Name: "ROOT"})
	if _, err := h.Release(); !errors.Is(err, hive.ErrNotFound) || job.CodeOf(h.Fault(err)) != job.HiveCorrupt {
		t.Error(err)
	}
	if k, err := h.Find("gone"); k != nil || err != nil {
		t.Errorf("%+v, %v", k, err)
	}
	if names, err := h.Names("gone"); names != nil || err != nil {
		t.Errorf("%q, %v", names, err)
	}
	if lost := errors.New("lost"); h.Fault(lost) != lost {
		t.Error("an error of the disk is taken for the hive's")
	}
}

func parse(t *testing.T, root *hive.Key) *Hive {
	t.Helper()
	b, err := hive.Build(root, hive.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := hive.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return &Hive{Hive: h, Place: "the hive"}
}

func TestCanceled(t *testing.T) {
	_, d := image(t, nil)
	table, err := ReadTable(d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := table.Volumes(ctx, d); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
