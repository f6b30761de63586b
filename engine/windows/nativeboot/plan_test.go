package nativeboot

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/copyfile"
	"imageport/engine/disk"
	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/ntfs"
	"imageport/job"
	"imageport/testkit/winimage"
)

const mib = 1 << 20

// raw is a raw image as a disk.
type raw struct{ *copyfile.File }

func (raw) SectorSize() int { return 512 }

var _ disk.Disk = raw{}

func openRaw(t *testing.T, path string) raw {
	t.Helper()
	f, err := copyfile.OpenWhole(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return raw{f}
}

func build(t *testing.T, spec winimage.Spec) (winimage.Image, raw) {
	t.Helper()
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return img, openRaw(t, img.Path)
}

func plan(t *testing.T, src disk.Disk, platform string, size int64) *Plan {
	t.Helper()
	p, err := New(t.Context(), src, Target{Platform: platform, SizeBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(t.Context(), src, Target{Platform: platform, SizeBytes: size})
	if err != nil || again.Digest() != p.Digest() {
		t.Fatalf("made again, the plan is another one (%v)", err)
	}
	for i := 1; i < len(p.Writes); i++ {
		if last := p.Writes[i-1]; p.Writes[i].Offset < last.Offset+int64(len(last.Data)) {
			t.Fatalf("write %d is not behind the one before", i)
		}
	}
	return p
}

// apply gives a copy of the image with the plan's changes.
func apply(t *testing.T, path string, p *Plan, size int64) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "disk.raw")
	if text, err := exec.Command("cp", "--sparse=always", path, out).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, text)
	}
	if err := os.Truncate(out, size); err != nil {
		t.Fatal(err)
	}
	d := openRaw(t, out)
	for range 2 { // a second time changes nothing
		for _, w := range p.Writes {
			if _, err := d.WriteAt(w.Data, w.Offset); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// system reads C:\Windows\System32\config\SYSTEM of an image, and puts it into a
// file.
func system(t *testing.T, path string, img winimage.Image) string {
	t.Helper()
	i := slices.IndexFunc(img.Partitions, func(p winimage.Partition) bool { return p.Role == winimage.Windows })
	w := img.Partitions[i]
	v, err := ntfs.Open(disk.Section(openRaw(t, path), w.StartBytes, w.SizeBytes), w.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.Open(pathSystem)
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.ReadAll(hiveLimit)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "SYSTEM")
	if err := os.WriteFile(out, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func hivexsh(t *testing.T, hive, script string) string {
	t.Helper()
	cmd := exec.Command("hivexsh", hive)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("hivexsh: %v: %s", err, out)
	}
	return string(out)
}

// Another reader of registries sees the drivers started at boot, and one of
// file systems a sound NTFS.
func TestDrivers(t *testing.T) {
	for _, spec := range []struct {
		name  string
		dirty bool
	}{{"clean", false}, {"hive with a log", true}} {
		t.Run(spec.name, func(t *testing.T) {
			s := winimage.Small()
			s.DirtySystemHiveWithLogs = spec.dirty
			img, src := build(t, s)
			p := plan(t, src, job.PlatformVSphere, src.Size())
			if p.Firmware != job.BIOS || p.Build != 19045 || p.Server || !strings.HasPrefix(p.Product, "Windows 10") {
				t.Errorf("it is %+v", p)
			}
			if want := []job.Controller{job.PVSCSI, job.LSISAS, job.AHCI, job.NVMe}; !slices.Equal(p.Controllers, want) {
				t.Errorf("controllers %v, want %v", p.Controllers, want)
			}
			var what []string
			for _, f := range p.FixUps {
				what = append(what, strings.TrimPrefix(f.What, `HKLM\SYSTEM\ControlSet001\Services\`)+" "+f.Old+">"+f.New)
			}
			if want := []string{`pvscsi\StartOverride 0=3>`, `LSI_SAS\Start 3>0`, `storahci\StartOverride 0=3>`, `stornvme\StartOverride 0=3>`}; !slices.Equal(what, want) {
				t.Errorf("fix-ups %q, want %q", what, want)
			}
			out := apply(t, img.Path, p, src.Size())
			hive := system(t, out, img)
			if got := hivexsh(t, hive, "cd \\ControlSet001\\Services\\storahci\nls\nlsval Start\n"); strings.Contains(got, "StartOverride") || !strings.HasSuffix(got, "0\n") {
				t.Errorf("hivexsh sees %q", got)
			}
			if got := hivexsh(t, hive, "cd \\ControlSet001\\Services\\LSI_SAS\nlsval Start\n"); !strings.HasSuffix(got, "0\n") {
				t.Errorf("hivexsh sees %q", got)
			}
			if text, err := exec.Command("reglookup", hive).CombinedOutput(); err != nil || !bytes.Contains(text, []byte("/ControlSet001/Services/pvscsi")) {
				t.Errorf("reglookup: %v", err)
			}
			fixed := openRaw(t, out)
			if done := plan(t, fixed, job.PlatformVSphere, src.Size()); len(done.FixUps) != 0 || len(done.Writes) != 0 {
				t.Errorf("of a disk that is fixed up there is left to do %+v", done.FixUps)
			}
		})
	}
}

// What the Windows has decides which platforms it is good for.
func TestPlatforms(t *testing.T) {
	_, src := build(t, winimage.Small())
	for platform, want := range map[string]job.Code{
		job.PlatformVSphere: "", job.PlatformXenServer: "", job.PlatformQEMU: "", job.PlatformLocal: "",
		job.PlatformAzure: job.NativeDriversMissing,
		job.PlatformGCP:   job.NativeDriversMissing, // NVMe, which some of its machines have only
	} {
		_, err := New(t.Context(), src, Target{Platform: platform, SizeBytes: src.Size()})
		if job.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", platform, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*winimage.Spec)
		want   job.Code
	}{
		"hibernated": {func(s *winimage.Spec) { s.Hibernated = true }, job.Hibernated},
		"no Windows": {func(s *winimage.Spec) { s.NoWindows = true }, ""},
		"no MBR":     {func(s *winimage.Spec) { s.NoMBR = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := winimage.Small()
			tc.change(&s)
			_, src := build(t, s)
			p, err := New(t.Context(), src, Target{Platform: job.PlatformVSphere, SizeBytes: src.Size()})
			if job.CodeOf(err) != tc.want {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			if err == nil && (len(p.Writes) > 0 || len(p.Warnings) == 0) {
				t.Errorf("%d writes, warnings %q", len(p.Writes), p.Warnings)
			}
		})
	}
}

// An EFI system partition gets the boot manager where firmware looks, and the
// backup of the partition table moves to the end of a larger disk.
func TestUEFI(t *testing.T) {
	const size, start, esp = 128 * mib, 2048, 100 * mib
	path := filepath.Join(t.TempDir(), "uefi.raw")
	f, err := copyfile.Create(path, size)
	if err != nil {
		t.Fatal(err)
	}
	table := gpt.Table{DiskGUID: uuid.New(), SectorSize: 512, Sectors: size / 512, Entries: []gpt.Entry{
		{Type: gpt.TypeESP, ID: uuid.New(), FirstLBA: start, LastLBA: start + esp/512 - 1, Name: "EFI system partition"},
	}}
	if err := table.Write(f); err != nil {
		t.Fatal(err)
	}
	manager := bytes.Repeat([]byte("boot manager "), 100_000)
	when := time.Date(2024, 5, 6, 7, 8, 10, 0, time.UTC)
	err = fat32.Format(section{f, start * 512}, fat32.Options{SizeBytes: esp, SectorSize: 512, HiddenSectors: start, VolumeID: 1, ModTime: when},
		[]fat32.File{{Path: pathManager, Size: int64(len(manager)), ModTime: when, Data: bytes.NewReader(manager)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p := plan(t, openRaw(t, path), job.PlatformVSphere, size+32*mib)
	if p.Firmware != job.UEFI || len(p.FixUps) != 2 {
		t.Fatalf("the plan is %+v", p)
	}
	out := apply(t, path, p, size+32*mib)
	if text, err := exec.Command("sgdisk", "-v", out).CombinedOutput(); err != nil || !bytes.Contains(text, []byte("No problems found")) {
		t.Errorf("sgdisk: %v: %s", err, text)
	}
	volume := filepath.Join(t.TempDir(), "esp.raw")
	if text, err := exec.Command("dd", "if="+out, "of="+volume, "bs=1M", "skip=1", "count=100").CombinedOutput(); err != nil {
		t.Fatalf("dd: %v: %s", err, text)
	}
	if text, err := exec.Command("fsck.fat", "-n", volume).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat: %v: %s", err, text)
	}
	got, err := exec.Command("mtype", "-i", volume, "::EFI/Boot/bootx64.efi").Output()
	if err != nil || !bytes.Equal(got, manager) {
		t.Errorf("mtype: %d bytes, %v", len(got), err)
	}
}

// section is a part of a file.
type section struct {
	f  *copyfile.File
	at int64
}

func (p section) WriteAt(b []byte, off int64) (int, error) { return p.f.WriteAt(b, p.at+off) }
