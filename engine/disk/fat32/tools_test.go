package fat32

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// newImage makes a file that begins with garbage and goes on sparse.
func newImage(t *testing.T, size, garbage int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "volume.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(bytes.Repeat([]byte{0xAA}, int(garbage))); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

// fsck.fat must find nothing to say but the summary, and mcopy read every file
// under its name.
func TestToolsAccept(t *testing.T) {
	for _, tt := range []struct {
		size       int64
		sectorSize int
		cluster    int
		files      []File
	}{
		{33 << 20, 512, 512, trickyFiles(512)},
		{100 << 20, 512, 1 << 10, bootFiles(1)},
		{130 << 20, 512, 2 << 10, trickyFiles(2 << 10)},
		{260 << 20, 4096, 4 << 10, bootFiles(0.1)},
		{500 << 20, 512, 4 << 10, bootFiles(0.1)},
		{1 << 30, 512, 4 << 10, trickyFiles(4 << 10)},
		{1 << 30, 4096, 4 << 10, trickyFiles(4 << 10)},
		{4 << 30, 4096, 32 << 10, bootFiles(0.1)},
	} {
		t.Run(fmt.Sprintf("%d MiB, sectors of %d", tt.size>>20, tt.sectorSize), func(t *testing.T) {
			opt := options(tt.size, tt.sectorSize)
			opt.ClusterSize = tt.cluster
			needed, err := Needed(opt, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			f := newImage(t, tt.size, min(needed+1<<20, tt.size))
			if err := Format(f, opt, tt.files); err != nil {
				t.Fatal(err)
			}
			fsck(t, f.Name(), opt, tt.files)

			if out := command(t, "minfo", "-i", f.Name()); !strings.Contains(out, "hidden sectors: 2048") || !strings.Contains(out, "serial number: 1234ABCD") {
				t.Error(out)
			}
			if out := command(t, "mlabel", "-s", "-i", f.Name()); !strings.Contains(out, "SYSTEM") {
				t.Error(out)
			}
			dir := t.TempDir()
			command(t, "mcopy", "-s", "-n", "-m", "-i", f.Name(), "::/", dir)
			compareTree(t, dir, tt.files)
		})
	}
}

// fsck runs fsck.fat, which must do its checks without a word between them, and
// count as many files and clusters as there are. It takes directories and the
// label for files.
func fsck(t *testing.T, image string, opt Options, files []File) {
	t.Helper()
	p, err := newPlan(opt, files)
	if err != nil {
		t.Fatal(err)
	}
	out := command(t, "fsck.fat", "-n", "-v", image)
	_, checks, _ := strings.Cut(out, " sectors total\n")
	want := fmt.Sprintf("Checking for unused clusters.\nChecking free cluster summary.\n%s: %d files, %d/%d clusters\n",
		image, len(p.order), p.used, p.clusters) // the label instead of the root
	if checks != want {
		t.Errorf("want %s\ngot %s", want, out)
	}
}

// The tools must find a volume to which files were added as sound as before,
// and read all files: our own, and one that mkfs.fat and mtools made.
func TestToolsAcceptAdded(t *testing.T) {
	for _, tt := range []struct {
		size                int64
		sectorSize, cluster int
		maker               string
	}{
		{33 << 20, 512, 512, "Format"},
		{1 << 30, 4096, 4 << 10, "Format"},
		{40 << 20, 512, 512, "mkfs.fat"},
		{2400 * 63 * 4096, 4096, 4096, "mkfs.fat"},
	} {
		t.Run(fmt.Sprintf("%s, %d MiB, sectors of %d", tt.maker, tt.size>>20, tt.sectorSize), func(t *testing.T) {
			opt := options(tt.size, tt.sectorSize)
			opt.ClusterSize = tt.cluster
			there, more := []File{file("EFI/Boot/pvsboot.efi", 5000), file("EFI/a long name", 700)}, trickyFiles(tt.cluster)[:60]
			f := newImage(t, tt.size, 1<<20)
			if tt.maker == "Format" {
				if err := Format(f, opt, there); err != nil {
					t.Fatal(err)
				}
			} else {
				command(t, "mkfs.fat", "-F", "32", "-S", fmt.Sprint(tt.sectorSize), "-s", fmt.Sprint(tt.cluster/tt.sectorSize), "-n", opt.Label, f.Name())
				command(t, "mmd", "-i", f.Name(), "::/EFI", "::/EFI/Boot")
				for _, file := range there {
					path := filepath.Join(t.TempDir(), "file")
					if err := os.WriteFile(path, content(file.Path, int(file.Size)), 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.Chtimes(path, testTime, testTime); err != nil {
						t.Fatal(err)
					}
					command(t, "mcopy", "-m", "-i", f.Name(), path, "::/"+file.Path)
				}
			}
			for _, file := range more {
				if err := AddFile(f, tt.size, file); err != nil {
					t.Fatal(err)
				}
			}
			all := append(there, more...)
			if tt.maker == "Format" {
				fsck(t, f.Name(), opt, all) // it says as much of a volume that had all of them at once
			} else if _, checks, _ := strings.Cut(command(t, "fsck.fat", "-n", "-v", f.Name()), " sectors total\n"); !strings.HasPrefix(checks, "Checking for unused clusters.\nChecking free cluster summary.\n"+f.Name()) {
				t.Error(checks)
			}
			if out := command(t, "mdir", "-i", f.Name(), "::/EFI/Boot"); !strings.Contains(out, "BOOTX64  EFI      5000 2025-03-09  23:59  bootx64.efi\n") || !strings.Contains(out, "PVSBOO~1 EFI") {
				t.Error(out)
			}
			dir := t.TempDir()
			command(t, "mcopy", "-s", "-n", "-m", "-i", f.Name(), "::/", dir)
			compareTree(t, dir, all)
		})
	}
}

// 7zz lists names that are too long for files of Linux, or have characters that
// mtools does not know.
func TestLongestNames(t *testing.T) {
	files := []File{
		file(strings.Repeat("漢", 251)+".txt", 1),
		file(strings.Repeat("x", 255), 1),
		file("EFI/"+strings.Repeat("é", 13*5), 1), // no terminator: the last part is full
		file("EFI/"+strings.Repeat("𝄞", 127)+"x", 1),
		file("EFI/clef 𝄞 and 😀.txt", 1),
	}
	opt := options(33<<20, 512)
	f := newImage(t, opt.SizeBytes, 1<<20)
	if err := Format(f, opt, files); err != nil {
		t.Fatal(err)
	}
	fsck(t, f.Name(), opt, files)
	out := command(t, "7zz", "l", "-ba", "-slt", f.Name())
	for _, f := range files {
		if !strings.Contains(out, "Path = "+f.Path+"\n") {
			t.Errorf("no %s in\n%s", f.Path, out)
		}
	}
}

// compareTree compares a directory with the files that were stored. A name may
// come in another case only where files named their directory in two.
func compareTree(t *testing.T, dir string, files []File) {
	t.Helper()
	want := map[string]File{}
	for _, f := range files {
		want[foldName(f.Path)] = f
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := want[foldName(name)]
		if !ok || filepath.Base(name) != filepath.Base(f.Path) {
			t.Errorf("%s was not stored", name)
			return nil
		}
		delete(want, foldName(name))
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, content(f.Path, int(f.Size))) {
			t.Errorf("%s: %d bytes, not those that were stored", name, len(got))
		}
		if info, err := d.Info(); err != nil || !info.ModTime().Equal(f.ModTime) {
			t.Errorf("%s: time %v, %v", name, info.ModTime(), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range want {
		t.Errorf("%s was not read", f.Path)
	}
}
