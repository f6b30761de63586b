package nativeboot

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"imageport/engine/disk/gpt"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/offline"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// esp is an EFI system partition to be made by mkfs.fat and mtools.
type esp struct {
	fat   string // 32 or 16
	files []string
	dirty bool
}

const (
	windowsLoader = "EFI/Microsoft/Boot/bootmgfw.efi"
	otherLoader   = "EFI/Boot/BOOTX64.EFI"
)

// contentOf is what a file of an esp has in it.
func contentOf(path string) []byte {
	return bytes.Repeat([]byte(path+"\n"), 40_000)
}

// baseGPT makes a GPT disk with a Windows and, last, an empty partition, in a
// folder that TestMain removes. sgdisk waits until all is on the disk, so that it
// is asked once.
var baseGPT = sync.OnceValues(func() (winimage.Image, error) {
	spec := small()
	spec.AlreadyGPT, spec.SizeBytes, spec.FreeAtEndMiB = true, 160*mib, 48
	img, err := winimage.Cached(context.Background(), spec)
	if err == nil {
		img, err = img.Clone(context.Background(), filepath.Join(baseFolder, "gpt.img"))
	}
	if err == nil {
		err = exec.Command("sgdisk", "--largest-new=0", "--typecode=2:EF00", img.Path).Run()
	}
	return img, err
})

var baseFolder string

func TestMain(m *testing.M) {
	var err error
	if baseFolder, err = os.MkdirTemp("", "nativeboot-*"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	os.RemoveAll(baseFolder)
	os.Exit(code)
}

// gptDisk gives the path of a GPT disk with a Windows and an EFI system
// partition behind it, and the place of that.
func gptDisk(t *testing.T, e esp) (path string, img winimage.Image, at gpt.Entry) {
	t.Helper()
	base, err := baseGPT()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "gpt.img")
	if img, err = base.Clone(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(windisk.Open(t, path, 512))
	if err != nil {
		t.Fatal(err)
	}
	at = table.Entries[len(table.Entries)-1]
	if at.Type != gpt.TypeESP {
		t.Fatalf("%+v is no EFI system partition", at)
	}
	volume := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(volume, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(volume, int64(at.Sectors())*512); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.fat", "-F", e.fat, "-s", map[string]string{"32": "1", "16": "8"}[e.fat], volume)
	made := map[string]bool{}
	for _, f := range e.files {
		for i, c := range f {
			if dir := f[:i]; c == '/' && !made[dir] {
				tool(t, "mmd", "-i", volume, "::"+dir)
				made[dir] = true
			}
		}
		content := filepath.Join(t.TempDir(), "content")
		if err := os.WriteFile(content, contentOf(f), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "mcopy", "-i", volume, content, "::"+f)
	}
	b, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	if e.dirty {
		b[0x41] |= 1 // as Windows marks a volume that it has mounted
		fat := 512 * (int(b[0x0e]) + int(b[0x0f])<<8)
		b[fat+7] &^= 0x08
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, int64(at.FirstLBA)*512); err != nil {
		t.Fatal(err)
	}
	return path, img, at
}

const tableFixUp = "backup of the partition table (GPT)"

// A GPT disk gets a boot manager where firmware looks, and its table ends where
// the disk ends.
func TestUEFI(t *testing.T) {
	for _, c := range []struct {
		name    string
		esp     esp
		grow    int64
		loader  bool // is added
		warning string
	}{
		{"same size, loader there", esp{fat: "32", files: []string{windowsLoader, otherLoader}}, 0, false, ""},
		{"same size", esp{fat: "32", files: []string{windowsLoader}}, 0, true, ""},
		{"larger", esp{fat: "32", files: []string{windowsLoader}}, 64 * mib, true, ""},
		{"larger by a sector", esp{fat: "32", files: []string{windowsLoader, otherLoader}}, 512, false, ""},
		{"folder for the loader there", esp{fat: "32", files: []string{"EFI/boot/bootia32.efi", windowsLoader}}, mib, true, ""},
		{"another system's loader", esp{fat: "32", files: []string{otherLoader}}, 0, false, ""},
		{"no loader", esp{fat: "32"}, mib, false, `neither \EFI\Boot\bootx64.efi nor \EFI\Microsoft\Boot\bootmgfw.efi`},
		{"FAT16", esp{fat: "16", files: []string{windowsLoader}}, mib, false, "partition 2, stays as it is"},
		{"dirty", esp{fat: "32", files: []string{windowsLoader}, dirty: true}, 0, false, "partition 2, stays as it is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, img, at := gptDisk(t, c.esp)
			src := windisk.Open(t, path, 512)
			size := src.Size() + c.grow
			p := plan(t, overlay.New(src), job.PlatformVSphere, size)
			if p.Firmware != job.UEFI || len(p.Controllers) != 4 {
				t.Errorf("%+v", p)
			}
			want := []string{}
			if c.grow > 0 {
				want = append(want, fmt.Sprintf("%s sector %d>sector %d", tableFixUp, src.Size()/512-1, size/512-1))
			}
			want = append(want, `pvscsi\StartOverride 0=3>`, `LSI_SAS\Start 3>0`, `storahci\StartOverride 0=3>`, `stornvme\StartOverride 0=3>`)
			if c.loader {
				want = append(want, `partition 2: \EFI\Boot\bootx64.efi >a copy of \EFI\Microsoft\Boot\bootmgfw.efi`)
			}
			if got := brief(p.FixUps); !slices.Equal(got, want) {
				t.Errorf("fix-ups %q, want %q", got, want)
			}
			if got := strings.Join(p.Warnings, "\n"); c.warning == "" && got != "" || !strings.Contains(got, c.warning) {
				t.Errorf("warnings %q, want %q", got, c.warning)
			}
			out := apply(t, src, p, job.PlatformVSphere, size)
			disk := export(t, out, 0, size)
			if text := tool(t, "sgdisk", "-v", disk); !strings.Contains(text, "No problems found") {
				t.Errorf("sgdisk: %s", text)
			}
			before, after := tool(t, "sgdisk", "-i", "2", path), tool(t, "sgdisk", "-i", "2", disk)
			if before != after {
				t.Errorf("sgdisk: %s, before: %s", after, before)
			}
			volume := export(t, out, int64(at.FirstLBA)*512, int64(at.Sectors())*512)
			if !c.esp.dirty {
				tool(t, "fsck.fat", "-n", volume)
			}
			for _, f := range c.esp.files {
				if got := tool(t, "mtype", "-i", volume, "::"+f); got != string(contentOf(f)) {
					t.Errorf("mtype %s: %d bytes", f, len(got))
				}
			}
			if c.loader {
				if got := tool(t, "mtype", "-i", volume, "::EFI/Boot/bootx64.efi"); got != string(contentOf(windowsLoader)) {
					t.Errorf("mtype: %d bytes", len(got))
				}
			}
			w := windisk.Windows(t, img)
			hive := windisk.File(t, out, w, offline.PathSystem)
			if found := reglookup(t, hive); !found["/ControlSet001/Services/LSI_SAS/Start,DWORD,0x00000000,"] {
				t.Error("reglookup does not see the change of C:")
			}
		})
	}
}

// A disk that was enlarged before has its table put right, also if the output
// is not larger.
func TestTableInsideOfTheDisk(t *testing.T) {
	path, _, _ := gptDisk(t, esp{fat: "32", files: []string{windowsLoader, otherLoader}})
	old := windisk.Open(t, path, 512).Size()
	if err := os.Truncate(path, old+8*mib); err != nil {
		t.Fatal(err)
	}
	src := windisk.Open(t, path, 512)
	p := plan(t, src, job.PlatformLocal, src.Size())
	if f := p.FixUps[0]; f.What != tableFixUp || f.Old != fmt.Sprintf("sector %d", old/512-1) || f.New != fmt.Sprintf("sector %d", src.Size()/512-1) {
		t.Errorf("%+v", f)
	}
	disk := export(t, apply(t, src, p, job.PlatformLocal, src.Size()), 0, src.Size())
	if text := tool(t, "sgdisk", "-v", disk); !strings.Contains(text, "No problems found") {
		t.Errorf("sgdisk: %s", text)
	}
}

func TestBadTable(t *testing.T) {
	path, _, _ := gptDisk(t, esp{fat: "32"})
	for name, at := range map[string]int64{"primary header": 512 + 60, "primary entries": 1024, "backup header": -512 + 60, "protective MBR": 446 + 8} {
		d := overlay.New(windisk.Open(t, path, 512))
		if at < 0 {
			at += d.Size()
		}
		b := make([]byte, 1)
		if _, err := d.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0xff
		if _, err := d.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		for _, grow := range []int64{0, mib} {
			if _, err := New(t.Context(), d, Target{Platform: job.PlatformVSphere, SizeBytes: d.Size() + grow}); job.CodeOf(err) != job.BadPartitionTable {
				t.Errorf("%s, %d bytes larger: %v", name, grow, err)
			}
		}
	}
}

// A GPT without an EFI system partition, and one of a dynamic disk.
func TestOtherGPT(t *testing.T) {
	path, _, _ := gptDisk(t, esp{fat: "32"})
	for typ, warning := range map[string]string{
		"0700":                                 "no EFI system partition",
		"AF9B60A0-1431-4F62-BC68-3311714A69AD": "dynamic",
	} {
		tool(t, "sgdisk", "--typecode=2:"+typ, path)
		src := windisk.Open(t, path, 512)
		p := plan(t, src, job.PlatformVSphere, src.Size())
		if p.Firmware != job.UEFI || !strings.Contains(strings.Join(p.Warnings, "\n"), warning) {
			t.Errorf("%s: %+v", typ, p)
		}
	}
}
