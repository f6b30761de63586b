package bootcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/ntfs"
	"imageport/testkit/winimage/ntfs3g"
)

// The disk of these tests is the one that a genuine boot configuration names:
// that of a Windows 10 which was installed for UEFI (see engine/windows/bcd).
const bcdFile = "../bcd/testdata/win10-uefi.BCD"

var (
	diskGUID     = uuid.MustParse("0b2394a9-095e-487d-8d48-719ecd4d78ca")
	systemGUID   = uuid.MustParse("36be3955-63bf-4068-a6ab-00195cca3a22")
	windowsGUID  = uuid.MustParse("8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b")
	recoveryGUID = uuid.MustParse("6cdfcd69-de75-4490-8f99-5a84bf264917")

	typeData     = uuid.MustParse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
	typeRecovery = uuid.MustParse("de94bba4-06d1-4d40-a16a-bfd50179d6ac")
)

// Objects of that boot configuration.
const (
	loaderObject   = `{733b62e5-f608-11eb-825c-c112f60133ab}`
	recoveryObject = `{733b62e6-f608-11eb-825c-c112f60133ab}`
	managerObject  = `{9dea862c-5cdd-4e70-acc1-f32b344d4795}`
)

const (
	signature = 0x7a11c0de // of the MBR disk that it was
	mib       = 1 << 20
)

// reAgent is as long as it has to be for another disk to fit.
const reAgent = `<?xml version='1.0' encoding='utf-8'?>
<WindowsRE version="2.0">
  <WinreBCD id="{733b62e6-f608-11eb-825c-c112f60133ab}"/>
  <WinreLocation path="\Recovery\WindowsRE" id="0" offset="%d" guid="{0b2394a9-095e-487d-8d48-719ecd4d78ca}"/>
  <ImageLocation path="" id="0" offset="0" guid="{00000000-0000-0000-0000-000000000000}"/>
  <InstallState state="1"/>
</WindowsRE>
                                                                                                    `

// testDisk is a disk that nothing is wrong with.
type testDisk struct {
	*os.File
	size       int64
	sectorSize int
	partitions []Partition
	esp        map[string][]byte
}

func (d *testDisk) Size() int64     { return d.size }
func (d *testDisk) SectorSize() int { return d.sectorSize }

// expected is all that can be expected of the disk.
func (d *testDisk) expected() Expected {
	want := Expected{
		Signature: signature, DiskGUID: diskGUID, Partitions: d.partitions,
		MountedDevices: map[string]uuid.UUID{`\DosDevices\C:`: windowsGUID},
	}
	for path, data := range d.esp {
		want.ESPFiles = append(want.ESPFiles, File{Path: path, Size: int64(len(data)), Data: bytes.NewReader(data)})
	}
	return want
}

// build makes a disk with tools that are not ours; for sectors of 4096 bytes,
// which sgdisk does not know in a file, the partition table is the product's.
func build(t testing.TB, dir string, sectorSize int) *testDisk {
	t.Helper()
	type place struct {
		typ, id    uuid.UUID
		name       string
		start, mib int64
	}
	systemMiB := int64(34)
	if sectorSize == 4096 {
		systemMiB = 260
	}
	places := []place{
		{typeRecovery, recoveryGUID, "Recovery", 1, 8},
		{typeData, windowsGUID, "Basic data partition", 9, 24},
		{typeESP, systemGUID, "EFI system partition", 33, systemMiB},
	}
	d := &testDisk{size: (35 + systemMiB) * mib, sectorSize: sectorSize, esp: systemFiles(t)}
	path := filepath.Join(dir, fmt.Sprintf("disk%d.img", sectorSize))
	f, err := os.Create(path)
	must(t, err)
	d.File = f
	must(t, f.Truncate(d.size))

	args := []string{"--clear", "--disk-guid", diskGUID.String()}
	table := gpt.Table{DiskGUID: diskGUID, SectorSize: sectorSize, Sectors: uint64(d.size) / uint64(sectorSize)}
	for i, p := range places {
		n := i + 1
		at := Partition{
			Number: n, Type: p.typ, ID: p.id, Name: p.name,
			FirstLBA: uint64(p.start * mib / int64(sectorSize)), LastLBA: uint64((p.start+p.mib)*mib/int64(sectorSize) - 1),
		}
		if p.typ == typeRecovery {
			at.Attributes = 1<<63 | 1
			args = append(args, fmt.Sprintf("--attributes=%d:set:0", n), fmt.Sprintf("--attributes=%d:set:63", n))
		}
		args = append(args, fmt.Sprintf("--new=%d:%d:%d", n, at.FirstLBA, at.LastLBA), fmt.Sprintf("--typecode=%d:%v", n, p.typ),
			fmt.Sprintf("--partition-guid=%d:%v", n, p.id), fmt.Sprintf("--change-name=%d:%s", n, p.name))
		d.partitions = append(d.partitions, at)
		table.Entries = append(table.Entries, gpt.Entry{Index: i, Type: p.typ, ID: p.id, FirstLBA: at.FirstLBA, LastLBA: at.LastLBA, Attributes: at.Attributes, Name: p.name})
	}
	if sectorSize == 512 {
		run(t, "", "sgdisk", append(args, path)...)
	} else {
		must(t, table.Write(f))
	}
	offset := func(i int) int64 { return places[i].start * mib }
	fill(t, f, offset(0), ntfsVolume(t, dir, places[0].mib*mib, offset(0), sectorSize, map[string][]byte{
		"Recovery/WindowsRE/Winre.wim": []byte("MSWIM"), "Recovery/WindowsRE/boot.sdi": []byte("$SDI0001"),
	}))
	fill(t, f, offset(1), ntfsVolume(t, dir, places[1].mib*mib, offset(1), sectorSize, windowsFiles(t)))
	fill(t, f, offset(2), systemVolume(t, dir, places[2].mib*mib, sectorSize, d.esp))
	return d
}

// fill copies what is not zero from a file, which it removes.
func fill(t testing.TB, w io.WriterAt, at int64, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer os.Remove(path)
	defer f.Close()
	buf := make([]byte, mib)
	for off := int64(0); ; off += mib {
		n, err := f.ReadAt(buf, off)
		if n > 0 && !allZero(buf[:n]) {
			_, err := w.WriteAt(buf[:n], at+off)
			must(t, err)
		}
		if err == io.EOF {
			return
		}
		must(t, err)
	}
}

// systemFiles are those of the EFI system partition.
func systemFiles(t testing.TB) map[string][]byte {
	store, err := os.ReadFile(bcdFile)
	must(t, err)
	manager := program(0x8664, 10, 300_000)
	return map[string][]byte{
		"EFI/Boot/bootx64.efi":                                                            manager,
		"EFI/Microsoft/Boot/bootmgfw.efi":                                                 manager,
		"EFI/Microsoft/Boot/memtest.efi":                                                  program(0x8664, 10, 5000),
		"EFI/Microsoft/Boot/BCD":                                                          store,
		"EFI/Microsoft/Boot/BCD.LOG":                                                      nil,
		"EFI/Microsoft/Boot/en-US/bootmgfw.efi.mui":                                       []byte("text"),
		"EFI/Microsoft/Boot/qps-ploc/a file with a name that goes on and on.mui":          []byte("a long name"),
		"EFI/Microsoft/Boot/Fonts/thirteen.abcd":                                          bytes.Repeat([]byte("font"), 20_000), // one piece of a long name
		"EFI/Microsoft/Boot/Resources/Größe.dll":                                          []byte("umlauts"),
		"EFI/Microsoft/Boot/CIPolicies/Active/{5DAC656C-21AD-4A02-AB49-649917162E70}.cip": []byte("policy"),
	}
}

func windowsFiles(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"Windows/System32/winload.efi":          program(0x8664, 16, 40_000),
		"Windows/System32/winresume.efi":        program(0x8664, 16, 4000),
		"Windows/System32/config/SYSTEM":        systemHive(t),
		"Windows/System32/Recovery/ReAgent.xml": fmt.Appendf(nil, reAgent, 1*mib),
	}
}

// systemVolume makes a FAT32 volume in a file.
func systemVolume(t testing.TB, dir string, size int64, sectorSize int, files map[string][]byte) string {
	t.Helper()
	path := filepath.Join(dir, "system.fat")
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
	run(t, "", "mkfs.fat", "-F", "32", "-s", "1", "-S", fmt.Sprint(sectorSize), "-n", "SYSTEM", path)
	tree, err := os.MkdirTemp(dir, "tree")
	must(t, err)
	defer os.RemoveAll(tree)
	writeTree(t, tree, files)
	run(t, "", "mcopy", "-s", "-Q", "-m", "-i", path, filepath.Join(tree, "EFI"), "::/")
	return path
}

// ntfsVolume makes an NTFS volume in a file.
func ntfsVolume(t testing.TB, dir string, size, at int64, sectorSize int, files map[string][]byte) string {
	t.Helper()
	path := filepath.Join(dir, "volume.ntfs")
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
	must(t, ntfs3g.Format(t.Context(), path, "volume", at/int64(sectorSize), sectorSize))
	v, err := ntfs3g.Mount(t.Context(), path)
	must(t, err)
	writeTree(t, v.Dir, files)
	must(t, v.Unmount())
	return path
}

func writeTree(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, files[name], 0o644))
	}
}

// replace gives a file of an NTFS volume other data of the same length.
func replace(t testing.TB, d disk.Writable, p Partition, path string, change func(data []byte) []byte) {
	t.Helper()
	r := section(d, p)
	v, err := ntfs.Open(r, r.Size())
	must(t, err)
	f, err := v.Open(path)
	must(t, err)
	data := make([]byte, f.Size())
	_, err = f.ReadAt(data, 0)
	must(t, ignoreEOF(err))
	edits, err := f.Replace(change(data))
	must(t, err)
	for _, e := range edits {
		write(t, d, int64(p.FirstLBA)*int64(d.SectorSize())+e.Offset, e.Data)
	}
}

func write(t testing.TB, d disk.Writable, at int64, data []byte) {
	t.Helper()
	_, err := d.WriteAt(data, at)
	must(t, err)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, stdin, tool string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), tool, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, complaints.String())
	}
	return string(out)
}
