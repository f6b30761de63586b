package bootcheck

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/job"
)

var (
	bases     = map[int]*testDisk{} // by the size of sectors
	basesLock sync.Mutex
)

// base gives the disk that nothing is wrong with, which the tests share. Its
// file has no name any more: nothing stays behind, however the process ends.
func base(t testing.TB, sectorSize int) *testDisk {
	t.Helper()
	basesLock.Lock()
	defer basesLock.Unlock()
	if bases[sectorSize] == nil {
		dir, err := os.MkdirTemp("", "bootcheck")
		must(t, err)
		defer os.RemoveAll(dir)
		bases[sectorSize] = build(t, dir, sectorSize)
	}
	return bases[sectorSize]
}

func TestNothingWrong(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		d := base(t, sectorSize)
		got, err := Check(t.Context(), d, d.expected())
		if err != nil {
			t.Fatalf("sectors of %d bytes: %v", sectorSize, err)
		}
		if len(got.ESPFiles) != len(d.esp) {
			t.Errorf("%d files on the ESP, want %d", len(got.ESPFiles), len(d.esp))
		}
		for _, f := range got.ESPFiles {
			want := job.ESPFile{Path: f.Path, SizeBytes: int64(len(d.esp[f.Path])), SHA256: fmt.Sprintf("%x", sha256.Sum256(d.esp[f.Path]))}
			if f != want {
				t.Errorf("%+v, want %+v", f, want)
			}
		}
		for what, want := range map[string]string{
			"Protective MBR":       "one entry of type 0xEE",
			"GPT":                  "3 partitions",
			"EFI system partition": "partition 3, FAT32 in order: 10 files",
			"Boot manager":         "x64 EFI application",
			"BCD, boot manager":    `\EFI\Microsoft\Boot\bootmgfw.efi on partition 36be3955`,
			"BCD, default entry":   `"Windows 10" {733b62e5-f608-11eb-825c-c112f60133ab} starts \Windows\system32\winload.efi on partition 2 (Basic data partition); Windows is \Windows`,
			"BCD, resume":          `\Windows\system32\winresume.efi is on partition 2`,
			"BCD, recovery":        `\Recovery\WindowsRE\Winre.wim is on partition 1`,
			"BCD, tool":            `\EFI\Microsoft\Boot\memtest.efi is on partition 3`,
			"BCD, MBR devices":     "none",
			"Windows volume":       "not dirty",
			"MountedDevices":       `2 values name partitions of this disk; \DosDevices\F: is on the MBR disk 0x002b1be5; \DosDevices\G: is partition 11111111`,
			"ReAgent.xml":          "no place is named by the signature of an MBR disk\nWindows RE is on partition 1 (Recovery)",
		} {
			wantCheck(t, got.Checks, what, want)
		}
		if t.Failed() {
			for _, c := range got.Checks {
				t.Logf("%s: %s", c.What, c.Found)
			}
		}
	}
}

// TestExpectingNothing is a disk of which nothing is known.
func TestExpectingNothing(t *testing.T) {
	if _, err := Check(t.Context(), base(t, 512), Expected{}); err != nil {
		t.Fatal(err)
	}
}

var errCable = errors.New("cable pulled")

// TestDiskFails has every read fail in turn: what is below is not at fault.
func TestDiskFails(t *testing.T) {
	d := base(t, 512)
	for n := 0; ; n += 1 + n/8 {
		f := &failing{Disk: d, left: n}
		_, err := Check(t.Context(), f, d.expected())
		if err == nil {
			if f.left < 0 {
				t.Fatalf("read %d failed, and nobody noticed", n)
			}
			break
		}
		if !errors.Is(err, errCable) || errors.Is(err, ErrWrong) {
			t.Fatalf("read %d failed: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, d, d.expected()); !errors.Is(err, context.Canceled) || errors.Is(err, ErrWrong) {
		t.Fatalf("cancelled: %v", err)
	}
}

// failing is a disk that fails after some reads.
type failing struct {
	disk.Disk
	left int
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errCable
	}
	return f.Disk.ReadAt(p, off)
}

// TestReported are things that Windows starts in spite of.
func TestReported(t *testing.T) {
	winRE := ramdisk([16]byte{1}, gptDevice(diskGUID, recoveryGUID), `\Recovery\WindowsRE\Winre.wim`)
	for _, c := range []struct {
		name, script, what, want string
	}{
		{"no WinRE image", setElement(recoveryObject, elemDevice, hexValue(3, ramdisk([16]byte{1}, gptDevice(diskGUID, recoveryGUID), `\Winre.wim`))),
			"BCD, recovery", `is not resolved: there is no \Winre.wim on partition 1 (Recovery)`},
		{"WinRE on another disk", setElement(recoveryObject, elemDevice, hexValue(3, ramdisk([16]byte{1}, mbrDevice(0x1234, 0), `\Winre.wim`))),
			"BCD, recovery", "is not resolved: its device is the partition at byte 0 of the MBR disk 0x00001234"},
		{"no options", setElement(recoveryObject, elemDevice, hexValue(3, winRE)), "BCD, recovery", "the options {01000000-0000-0000-0000-000000000000} of its RAM disk are not there"},
		{"no recovery", "cd \\Objects\\" + loaderObject + "\\Elements\\14000008\ndel\n", "BCD, recovery", "has no recovery sequence"},
		{"recovery without object", "cd \\Objects\\" + recoveryObject + "\ndel\n", "BCD, recovery", "{733b62e6-f608-11eb-825c-c112f60133ab} is not resolved: there is no such object"},
		{"no resume program", "cd \\Objects\\{733b62e4-f608-11eb-825c-c112f60133ab}\\Elements\\12000002\nsetval 1\nElement\nstring:\\no.efi\n",
			"BCD, resume", `is not resolved: there is no \no.efi on partition 2`},
		{"foreign MBR disk", setElement("{733b62e2-f608-11eb-825c-c112f60133ab}", elemDevice, hexValue(3, mbrDevice(0x1234, mib))),
			"BCD, MBR devices", `element 11000001 of "UEFI OS" {733b62e2-f608-11eb-825c-c112f60133ab} is the partition at byte 1048576 of the MBR disk 0x00001234`},
		{"LOCATE", setElement(loaderObject, elemDevice, hexValue(3, locateDevice(elemPath))) + setElement(loaderObject, elemOSDevice, hexValue(3, locateDevice(elemSystemRoot))),
			"BCD, default entry", `on partition 2 (Basic data partition); Windows is \Windows on partition 2`},
		{"BOOT", setElement(managerObject, elemDevice, hexValue(3, bootDevice())), "BCD, boot manager", "the partition booted from"},
		{"tool without object", "cd \\Objects\\{b2721d73-1db4-4c62-bf78-c548a880142d}\ndel\n", "BCD, menu", "element 24000010 names {b2721d73"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := base(t, 512)
			o := overlay.New(d)
			putStore(t, d, o, editHive(t, d.esp["EFI/Microsoft/Boot/BCD"], c.script))
			got, err := Check(t.Context(), o, Expected{Signature: signature})
			if err != nil {
				t.Fatal(err)
			}
			wantCheck(t, got.Checks, c.what, c.want)
		})
	}
}

// wantCheck looks for a check of that kind that says something.
func wantCheck(t *testing.T, checks []job.Check, what, want string) {
	t.Helper()
	var found []string
	for _, c := range checks {
		if c.What == what {
			found = append(found, c.Found)
		}
	}
	if !strings.Contains(strings.Join(found, "\n"), want) {
		t.Errorf("%s: %q, want %q", what, found, want)
	}
}

// putStore makes the EFI system partition anew, with another BCD.
func putStore(t *testing.T, d *testDisk, o disk.Writable, store []byte) {
	t.Helper()
	putSystem(t, d, o, func(files map[string][]byte) { files["EFI/Microsoft/Boot/BCD"] = store })
}

func putSystem(t *testing.T, d *testDisk, o disk.Writable, change func(files map[string][]byte)) {
	t.Helper()
	files := maps.Clone(d.esp)
	change(files)
	p := d.partitions[2]
	r := section(d, p)
	write(t, o, int64(p.FirstLBA)*512, make([]byte, 2*mib)) // FATs; what is behind them does not matter
	fill(t, o, int64(p.FirstLBA)*512, systemVolume(t, t.TempDir(), r.Size(), 512, files))
}
