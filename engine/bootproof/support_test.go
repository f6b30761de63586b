package bootproof_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/bootproof"
	"imageport/engine/disk/gpt"
	"imageport/testkit/oracle"
)

const mib = 1 << 20

// fileDisk is a raw image.
type fileDisk struct {
	*os.File
	size       int64
	sectorSize int
}

func (d fileDisk) Size() int64     { return d.size }
func (d fileDisk) SectorSize() int { return d.sectorSize }

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// program compiles testdata/program.c.
func program(t *testing.T, define string) string {
	t.Helper()
	libraries := ""
	for _, dir := range []string{"/usr/lib", "/usr/lib/gnuefi", "/usr/lib64/gnuefi", "/usr/lib/x86_64-linux-gnu/gnuefi"} {
		if _, err := os.Stat(filepath.Join(dir, "crt0-efi-x86_64.o")); err == nil {
			libraries = dir
		}
	}
	if libraries == "" {
		t.Fatal("gnu-efi is not installed")
	}
	object := filepath.Join(t.TempDir(), "program")
	run(t, "gcc", "-isystem", "/usr/include/efi", "-isystem", "/usr/include/efi/x86_64",
		"-std=gnu11", "-O2", "-Wall", "-Werror", "-ffreestanding", "-fpic", "-fshort-wchar", "-mno-red-zone", "-fno-stack-protector",
		"-fno-strict-aliasing", "-maccumulate-outgoing-args", "-DGNU_EFI_USE_MS_ABI", "-D"+define, "-c", "testdata/program.c", "-o", object+".o")
	run(t, "ld", "-shared", "-Bsymbolic", "--no-undefined", "-L"+libraries, "-T", filepath.Join(libraries, "elf_x86_64_efi.lds"),
		filepath.Join(libraries, "crt0-efi-x86_64.o"), object+".o", "-o", object+".so", "-lgnuefi", "-lefi")
	args := []string{"--target", "efi-app-x86_64", "--subsystem=10"}
	for _, section := range []string{".text", ".sdata", ".data", ".rodata", ".dynamic", ".dynsym", ".rel*", ".reloc"} {
		args = append(args, "-j", section)
	}
	run(t, "objcopy", append(args, object+".so", object+".efi")...)
	return object + ".efi"
}

func bootOracle(t *testing.T) string {
	t.Helper()
	paths, err := oracle.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return paths.BootMgr
}

// image is a disk as a conversion leaves it: an ESP with a boot manager, if
// that is not empty, and, behind it without a gap, a partition of Windows.
type image struct {
	fileDisk
	windows bootproof.Range
}

func newImage(t *testing.T, bootManager string, sectorSize int) image {
	t.Helper()
	// FAT32 has at least 65525 clusters.
	espMiB, partitioner := int64(40), withSgdisk
	if sectorSize == 4096 {
		espMiB, partitioner = 300, withProduct
	}
	windows := bootproof.Range{Offset: (1 + espMiB) * mib, Length: 32 * mib}
	size := windows.Offset + windows.Length + mib
	dir := t.TempDir()
	path, esp := filepath.Join(dir, "disk"), filepath.Join(dir, "esp")
	create(t, path, size)
	create(t, esp, espMiB*mib)
	run(t, "mkfs.vfat", "-F", "32", "-S", strconv.Itoa(sectorSize), "-s", "1", esp)
	run(t, "mmd", "-i", esp, "::EFI", "::EFI/Boot")
	if bootManager != "" {
		run(t, "mcopy", "-i", esp, bootManager, "::EFI/Boot/bootx64.efi")
	}
	partitioner(t, path, int64(sectorSize), size, windows)
	run(t, "dd", "if="+esp, "of="+path, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt([]byte("BOOTPROOF"), windows.Offset); err != nil {
		t.Fatal(err)
	}
	return image{fileDisk{f, size, sectorSize}, windows}
}

func create(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func withSgdisk(t *testing.T, path string, _, _ int64, _ bootproof.Range) {
	t.Helper()
	run(t, "sgdisk", "-n", "1:2048:+40M", "-t", "1:ef00", "-n", "2:0:+32M", "-t", "2:0700", path)
}

// withProduct is for sectors of 4096 bytes, which sgdisk does not believe a
// file to have.
func withProduct(t *testing.T, path string, sector, size int64, windows bootproof.Range) {
	t.Helper()
	table := gpt.Table{DiskGUID: uuid.New(), SectorSize: int(sector), Sectors: uint64(size / sector), Entries: []gpt.Entry{
		{Index: 0, Type: gpt.TypeESP, ID: uuid.New(), FirstLBA: uint64(mib / sector), LastLBA: uint64(windows.Offset/sector) - 1},
		{Index: 1, Type: gpt.TypeBasicData, ID: uuid.New(), FirstLBA: uint64(windows.Offset / sector), LastLBA: uint64((windows.Offset+windows.Length)/sector) - 1},
	}}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := table.Write(f); err != nil {
		t.Fatal(err)
	}
}

// machinesOf counts the processes whose disk is below dir.
func machinesOf(t *testing.T, dir string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range all {
		line, err := os.ReadFile(path) // which may have ended
		if err == nil && bytes.Contains(line, []byte("file="+dir)) {
			n++
		}
	}
	return n
}

// wantNothing fails if there is a process, a mount or a file left.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	if n := machinesOf(t, dir); n > 0 {
		t.Errorf("%d machines still run", n)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(table), dir) {
		t.Errorf("something is still mounted in %s", dir)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in %s: %v, %v", dir, left, err)
	}
}

// eventually waits for what should be so very soon.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
