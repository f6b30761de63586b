package winimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imageport/testkit/oracle"
	"imageport/testkit/winimage/ntfs3g"
)

// build makes a disk, with the oracle kept for the other tests.
func build(t *testing.T, spec Spec) Image {
	t.Helper()
	image, err := Build(t.Context(), spec, filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// volume copies a partition to a file of its own.
func volume(t *testing.T, image Image, role Role) string {
	t.Helper()
	p, ok := image.Partition(role)
	if !ok {
		t.Fatalf("no partition %s", role)
	}
	in, err := os.Open(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(p.SizeBytes); err != nil {
		t.Fatal(err)
	}
	if err := copySparse(t.Context(), out, 0, in, p.StartBytes, p.SizeBytes); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// mounted gives a partition's directory.
func mounted(t *testing.T, image Image, role Role) string {
	t.Helper()
	v, err := ntfs3g.Mount(t.Context(), volume(t, image, role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return v.Dir
}

// tool runs a validator; the second result is its exit code.
func tool(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// hiveText is what hivexml, which is not ours, finds in a hive.
func hiveText(t *testing.T, path string) string {
	t.Helper()
	out, code := tool(t, "hivexml", path)
	if code != 0 {
		t.Fatalf("hivexml %s: exit %d\n%s", path, code, out)
	}
	return out
}

func TestBuildDefault(t *testing.T) {
	start := time.Now()
	image := build(t, Default())
	t.Logf("built in %v", time.Since(start))

	out, code := tool(t, "sgdisk", "-p", image.Path)
	for _, want := range []string{
		`\b1 +2048 +1026047 .* 0700`, `\b2 +1026048 +7362559 .* 0700`, `\b3 +7362560 +8386559 .* 2700`,
	} {
		if code != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("sgdisk -p: exit %d, no %q in\n%s", code, want, out)
		}
	}
	for _, role := range []Role{System, Windows, Recovery} {
		path := volume(t, image, role)
		if out, code := tool(t, "ntfs-3g.probe", "--readwrite", path); code != 0 {
			t.Errorf("%s: ntfs-3g.probe: exit %d\n%s", role, code, out)
		}
		if out, code := tool(t, "ntfsinfo", "-m", path); code != 0 || !strings.Contains(out, "Volume Name: "+string(role)) {
			t.Errorf("%s: ntfsinfo: exit %d\n%s", role, code, out)
		}
	}

	windows := mounted(t, image, Windows)
	var bootBytes int64
	err := filepath.Walk(filepath.Join(windows, "Windows/Boot"), func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && !strings.Contains(path, "/PCAT/") {
			bootBytes += info.Size()
		}
		return err
	})
	if err != nil || bootBytes < 25<<20 || bootBytes > 32<<20 {
		t.Errorf("boot files: %d bytes, %v", bootBytes, err)
	}
	reAgent, err := os.ReadFile(filepath.Join(windows, "Windows/System32/Recovery/ReAgent.xml"))
	if want := `id="2047983838" offset="3769630720"`; err != nil || !bytes.Contains(reAgent, []byte(want)) {
		t.Errorf("ReAgent.xml: %v, no %s in\n%s", err, want, reAgent)
	}
	if info, err := os.Stat(filepath.Join(windows, "Windows/System32/config/SYSTEM")); err != nil || info.Size() < 256<<10 {
		t.Errorf("SYSTEM: %v, %v", info, err)
	}
	system := hiveText(t, filepath.Join(windows, "Windows/System32/config/SYSTEM"))
	for _, want := range []string{
		`key="\DosDevices\C:" value="3sARegAAUB8AAAAA"`, // signature, 501 MiB
		`key="\DosDevices\F:"`, `key="#{5aae7822-77cb-11e9-bcf1-784f439fa657}"`, `<node name="bnistack"`,
	} {
		if !strings.Contains(system, want) {
			t.Errorf("SYSTEM: no %s", want)
		}
	}
	software := hiveText(t, filepath.Join(windows, "Windows/System32/config/SOFTWARE"))
	if !strings.Contains(software, `key="CurrentBuild" value="19045"`) {
		t.Errorf("SOFTWARE: no build in\n%s", software)
	}
	store := hiveText(t, filepath.Join(mounted(t, image, System), "Boot/BCD"))
	if n := strings.Count(store, "<node name=\"{"); n != 14 {
		t.Errorf("BCD: %d objects", n)
	}
	if _, err := os.Stat(filepath.Join(mounted(t, image, Recovery), "Recovery/WindowsRE/Winre.wim")); err != nil {
		t.Error(err)
	}
}

// Everything on one partition: C: is what the BIOS starts.
func TestBuildSinglePartition(t *testing.T) {
	t.Parallel()
	image := build(t, Spec{SizeBytes: 256 * mib, BootFiles: SmallBootFiles, ToLastSector: true})
	windows := mounted(t, image, Windows)
	for _, path := range []string{"bootmgr", "Boot/BCD", "Recovery/WindowsRE/Winre.wim", "Windows/System32/winload.efi"} {
		if _, err := os.Stat(filepath.Join(windows, path)); err != nil {
			t.Error(err)
		}
	}
}

// What a converter has to refuse is what the NTFS tools also find wrong.
func TestBuildFaults(t *testing.T) {
	base := Spec{SizeBytes: 256 * mib, SystemReservedMiB: 20, BootFiles: SmallBootFiles}
	probe := func(want int) func(t *testing.T, image Image) {
		return func(t *testing.T, image Image) {
			if out, code := tool(t, "ntfs-3g.probe", "--readwrite", volume(t, image, Windows)); code != want {
				t.Errorf("ntfs-3g.probe: exit %d, want %d\n%s", code, want, out)
			}
		}
	}
	missing := func(role Role, path string) func(t *testing.T, image Image) {
		return func(t *testing.T, image Image) {
			if _, err := os.Stat(filepath.Join(mounted(t, image, role), path)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*Spec)
		check  func(t *testing.T, image Image)
	}{
		"hibernated": {func(s *Spec) { s.Hibernated = true }, probe(14)},
		"BitLocker":  {func(s *Spec) { s.BitLocker = true }, probe(12)},
		"dirty": {func(s *Spec) { s.DirtyNTFS = true }, func(t *testing.T, image Image) {
			out, code := tool(t, "ntfsinfo", "-m", "-f", volume(t, image, Windows))
			if code != 0 || !strings.Contains(out, "Volume Flags: 0x0001 DIRTY") {
				t.Errorf("ntfsinfo: exit %d\n%s", code, out)
			}
		}},
		"already GPT": {func(s *Spec) { s.AlreadyGPT = true }, func(t *testing.T, image Image) {
			if out, code := tool(t, "sgdisk", "-v", image.Path); code != 0 || !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v: exit %d\n%s", code, out)
			}
		}},
		"extended": {func(s *Spec) { s.Extended = true }, func(t *testing.T, image Image) {
			// The logical partition gets the number 5.
			if out, _ := tool(t, "sgdisk", "-p", image.Path); !regexp.MustCompile(`\b5 +\d+ +\d+`).MatchString(out) {
				t.Errorf("sgdisk -p: no logical partition in\n%s", out)
			}
		}},
		"no BCD":          {func(s *Spec) { s.NoBCD = true }, missing(System, "Boot/BCD")},
		"no EFI files":    {func(s *Spec) { s.NoEFIFiles = true }, missing(Windows, "Windows/Boot/EFI/bootmgfw.efi")},
		"WinRE not on C:": {func(s *Spec) { s.WinREInSystem = true }, missing(Windows, "Recovery/WindowsRE/Winre.wim")},
		"compressed boot file": {func(s *Spec) { s.WOFBootFile = true }, func(t *testing.T, image Image) {
			out, code := tool(t, "ntfsinfo", "-F", "/Windows/Boot/EFI/bootmgfw.efi", volume(t, image, Windows))
			if code != 0 || !strings.Contains(out, "$REPARSE_POINT (0xc0)") {
				t.Errorf("ntfsinfo: exit %d\n%s", code, out)
			}
		}},
		"dirty SYSTEM": {func(s *Spec) { s.DirtySystemHive = true }, func(t *testing.T, image Image) {
			data, err := os.ReadFile(filepath.Join(mounted(t, image, Windows), "Windows/System32/config/SYSTEM"))
			if err != nil || data[4] == data[8] {
				t.Errorf("%v, sequence numbers % x", err, data[4:12])
			}
		}},
		"legacy loader": {func(s *Spec) { s.LegacyLoader = true }, func(t *testing.T, image Image) {
			store := hiveText(t, filepath.Join(mounted(t, image, System), "Boot/BCD"))
			if !strings.Contains(store, "<string>"+objNTLdr+"</string>") {
				t.Errorf("ntldr is not in the menu:\n%s", store)
			}
		}},
		"32-bit": {func(s *Spec) { s.Windows32Bit = true }, func(t *testing.T, image Image) {
			data, err := os.ReadFile(filepath.Join(mounted(t, image, Windows), "Windows/System32/winload.exe"))
			if err != nil || data[0x84] != 0x4c || data[0x85] != 0x01 {
				t.Errorf("machine % x, %v", data[0x84:0x86], err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := base
			test.change(&spec)
			test.check(t, build(t, spec))
		})
	}
}

func TestCached(t *testing.T) {
	// An empty cache, but for the oracle.
	usual, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := oracle.Build(t.Context(), usual)
	if err != nil {
		t.Fatal(err)
	}
	dir, built := t.TempDir(), filepath.Dir(programs.BootMgr)
	if err := os.Symlink(built, filepath.Join(dir, filepath.Base(built))); err != nil {
		t.Fatal(err)
	}
	t.Setenv(CacheDirVariable, dir)
	spec := Spec{SizeBytes: 128 * mib, BootFiles: SmallBootFiles}
	images := make([]Image, 3)
	var group sync.WaitGroup
	for i := range images {
		group.Go(func() {
			var err error
			if images[i], err = Cached(t.Context(), spec); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	before, err := os.Stat(images[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	again, err := Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("from the cache in %v", time.Since(start))
	after, err := os.Stat(again.Path)
	if err != nil || images[0].Path != images[1].Path || images[1].Path != images[2].Path ||
		!os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("%v %v: made more than once", images, again)
	}
	if before.Mode().Perm() != 0o444 {
		t.Errorf("can be written to: %v", before.Mode())
	}

	// Another disk is another file; what nobody used for long makes room.
	old := time.Now().Add(-2 * unusedFor)
	if err := os.Chtimes(again.Path, old, time.Time{}); err != nil {
		t.Fatal(err)
	}
	spec.Seed = 1
	other, err := Cached(t.Context(), spec)
	if err != nil || other.Path == again.Path {
		t.Errorf("%v, %v", other, err)
	}
	if _, err := os.Stat(again.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unused disk is still there: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv(CacheDirVariable), "*.img.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBuildCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	spec := Small()
	spec.UserDataMiB = 500 // so that it is not ready by then
	if _, err := Build(ctx, spec, filepath.Join(dir, "disk.img")); err == nil {
		t.Fatal("built")
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("%v: still mounted:\n%s", err, mounts)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.work")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCloneAndVHDX(t *testing.T) {
	image := build(t, Spec{SizeBytes: 256 * mib, BootFiles: SmallBootFiles})
	dir := t.TempDir()
	clone, err := image.Clone(t.Context(), filepath.Join(dir, "clone.img"))
	if err != nil {
		t.Fatal(err)
	}
	if out, code := tool(t, "cmp", image.Path, clone.Path); code != 0 {
		t.Errorf("clone differs: %s", out)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(clone.Path, &stat); err != nil || stat.Blocks*512 > 128*mib {
		t.Errorf("clone is not sparse: %d bytes, %v", stat.Blocks*512, err)
	}
	if _, err := image.Clone(t.Context(), clone.Path); !errors.Is(err, os.ErrExist) {
		t.Errorf("cloned over a file: %v", err)
	}
	for _, subformat := range []Subformat{Dynamic, Fixed} {
		path := filepath.Join(dir, string(subformat)+".vhdx")
		if err := image.VHDX(t.Context(), path, subformat); err != nil {
			t.Fatal(err)
		}
		if out, code := tool(t, "qemu-img", "compare", image.Path, path); code != 0 {
			t.Errorf("%s: %s", subformat, out)
		}
		out, _ := tool(t, "qemu-img", "info", "--output=json", path)
		var info struct {
			Format  string `json:"format"`
			Cluster int    `json:"cluster-size"`
		}
		if err := json.Unmarshal([]byte(out), &info); err != nil || info.Format != "vhdx" || info.Cluster != 2*mib {
			t.Errorf("%s: %v, %+v", subformat, err, info)
		}
	}
	if err := image.VHDX(t.Context(), filepath.Join(dir, "x"), "odd"); err == nil || !strings.Contains(err.Error(), "subformat") {
		t.Errorf("error does not carry qemu-img's words: %v", err)
	}
}
