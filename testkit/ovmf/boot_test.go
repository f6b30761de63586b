package ovmf_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"imageport/engine/windows/hive"
	"imageport/testkit/oracle"
	"imageport/testkit/ovmf"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/ntfs3g"
)

// A disk that was converted by hand boots, and one that was converted badly
// does not, for the reason that it was: the oracle tells the one from the other.
func TestBootConvertedByHand(t *testing.T) {
	for name, test := range map[string]struct {
		sabotage sabotage
		failed   string // check that fails; empty: PASS
		reason   string
	}{
		"well": {},
		"BCD still names MBR partitions": {
			sabotage{keepMBRDevices: true}, "bootmgr-device", "still names an MBR partition"},
		"GUID of another disk": {
			sabotage{wrongDiskGUID: true}, "bootmgr-device", "is not the GPT's"},
		"winload.efi is missing": {
			sabotage{noWinload: true}, "osloader-path", "no such file"},
		"drive letters were forgotten": {
			sabotage{keepDriveLetters: true}, "mounted-devices", "C: is no GPT partition (12 bytes)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := convert(t, test.sabotage)
			opt := ovmf.Options{Disk: disk}
			if test.failed == "" {
				opt.Screenshot = filepath.Join(t.TempDir(), "screen.png")
			}
			report, err := ovmf.Boot(t.Context(), opt)
			if err != nil {
				t.Fatalf("%v\n%s", err, report.Serial)
			}
			t.Logf("%v\n%v", report.Duration, report)
			check, failed := report.Failed()
			switch {
			case test.failed == "":
				if !report.Passed || failed || report.Verdict != "PASS" {
					t.Error("did not pass")
				}
				if first := report.Checks[0]; !strings.Contains(first.Detail, `\EFI\BOOT\BOOTX64.EFI (fallback path`) {
					t.Errorf("not started from the fallback path: %+v", first)
				}
				screen, err := png.DecodeConfig(bytes.NewReader(read(t, opt.Screenshot)))
				if err != nil || screen.Width < 640 {
					t.Errorf("screenshot: %+v, %v", screen, err)
				}
			case report.Passed || !failed || report.Verdict != "FAIL "+test.failed:
				t.Errorf("passed, or failed elsewhere; want %s", test.failed)
			case check.Name != test.failed || !strings.Contains(check.Detail, test.reason):
				t.Errorf("%+v, want %s: ... %s", check, test.failed, test.reason)
			}
		})
	}
}

// The disk as it was before the conversion has nothing for the firmware, which
// says so long before the time is over.
func TestBootUnconverted(t *testing.T) {
	t.Parallel()
	image := small(t)
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: image.Path})
	if !errors.Is(err, ovmf.ErrNoVerdict) || report.Passed || !strings.Contains(err.Error(), "nothing to boot") {
		t.Errorf("%v, %v", report.Passed, err)
	}
	if report.Serial == "" || report.Duration > time.Minute {
		t.Errorf("%v, serial port: %q", report.Duration, report.Serial)
	}
}

// Disks of 4 KiB sectors boot too. This one has no partitions: the boot manager
// is found on the bare file system, and says that it should not be there.
func TestBootSectorsOf4KiB(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	programs, err := oracle.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.img")
	tool(t, "mkfs.fat", "-S", "4096", "-C", disk, "65536")
	tool(t, "mmd", "-i", disk, "::/EFI", "::/EFI/BOOT")
	tool(t, "mcopy", "-i", disk, programs.BootMgr, "::/EFI/BOOT/BOOTX64.EFI")
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: disk, SectorSize: 4096})
	if err != nil || report.Verdict != "FAIL esp" {
		t.Errorf("%v\n%v\n%s", err, report, report.Serial)
	}
}

func TestBootEndsInTime(t *testing.T) {
	image := small(t)
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: image.Path, Timeout: 300 * time.Millisecond})
	if !errors.Is(err, ovmf.ErrNoVerdict) || !strings.Contains(err.Error(), "nothing after 300ms") {
		t.Errorf("time-out: %v", err)
	}
	if report.Duration > 10*time.Second {
		t.Errorf("took %v", report.Duration)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := ovmf.Boot(ctx, ovmf.Options{Disk: image.Path}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBootRefuses(t *testing.T) {
	image := small(t)
	if _, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: image.Path + ".missing"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing disk: %v", err)
	}
	if _, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: image.Path, SectorSize: 1000}); err == nil {
		t.Error("odd sector size: no error")
	}
	_, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: image.Path, Format: "vhdx"})
	if !errors.Is(err, ovmf.ErrNoVerdict) || !strings.Contains(err.Error(), "Could not open") {
		t.Errorf("wrong format, error without QEMU's words: %v", err)
	}
}

func small(t *testing.T) winimage.Image {
	t.Helper()
	image, err := winimage.Cached(t.Context(), winimage.Spec{
		SizeBytes: 512 << 20, SystemReservedMiB: 110, BootFiles: winimage.SmallBootFiles,
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// sabotage is what the conversion by hand gets wrong.
type sabotage struct {
	keepMBRDevices   bool
	wrongDiskGUID    bool
	noWinload        bool
	keepDriveLetters bool
}

// convert converts the small disk with other people's tools, as one would by
// hand, into a new file: only what the boot needs.
func convert(t *testing.T, wrong sabotage) string {
	t.Helper()
	dir := t.TempDir()
	image, err := small(t).Clone(t.Context(), filepath.Join(dir, "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	system, _ := image.Partition(winimage.System)
	windows, _ := image.Partition(winimage.Windows)
	tree := filepath.Join(dir, "esp") // what goes on the ESP
	boot := filepath.Join(tree, "EFI", "Microsoft", "Boot")
	if err := errors.Join(os.MkdirAll(boot, 0o755), os.MkdirAll(filepath.Join(tree, "EFI", "Boot"), 0o755)); err != nil {
		t.Fatal(err)
	}

	tool(t, "sgdisk", "--mbrtogpt", "-t", fmt.Sprintf("%d:ef00", system.Number), image.Path)
	table := tool(t, "sgdisk", "-p", image.Path)
	diskGUID := guid(t, table, `Disk identifier \(GUID\): (\S+)`)
	partitionGUID := func(p winimage.Partition) []byte {
		return guid(t, tool(t, "sgdisk", "-i", strconv.Itoa(p.Number), image.Path), `unique GUID: (\S+)`)
	}
	if wrong.wrongDiskGUID {
		diskGUID = bytes.Repeat([]byte{0x5a}, 16)
	}

	var store []byte
	onVolume(t, image, system, func(root string) {
		store = read(t, filepath.Join(root, "Boot/BCD"))
	})
	onVolume(t, image, windows, func(root string) {
		program := read(t, filepath.Join(root, "Windows/Boot/EFI/bootmgfw.efi"))
		write(t, filepath.Join(boot, "bootmgfw.efi"), program)
		write(t, filepath.Join(tree, "EFI/Boot/bootx64.efi"), program)
		if wrong.noWinload {
			if err := os.Remove(filepath.Join(root, "Windows/System32/winload.efi")); err != nil {
				t.Fatal(err)
			}
		}
		if !wrong.keepDriveLetters {
			path := filepath.Join(root, "Windows/System32/config/SYSTEM")
			write(t, path, edit(t, read(t, path), 5, func(key *hive.Key) {
				key.Key("MountedDevices").Set(hive.Bytes(`\DosDevices\C:`,
					append([]byte("DMIO:ID:"), partitionGUID(windows)...)))
			}))
		}
	})
	write(t, filepath.Join(boot, "BCD"), edit(t, store, 3, func(root *hive.Key) {
		const bootMgr = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
		device := func(p winimage.Partition) hive.Value {
			if wrong.keepMBRDevices {
				return root.Key("Objects", bootMgr, "Elements", "11000001").Values[0]
			}
			// DeviceType 6 of 0x48 bytes: partition GUID, style 0, disk GUID.
			b := make([]byte, 0x58)
			b[0x10], b[0x18] = 6, 0x48
			copy(b[0x20:], partitionGUID(p))
			copy(b[0x38:], diskGUID)
			return hive.Bytes("Element", b)
		}
		elements := root.Key("Objects", bootMgr, "Elements")
		loader := root.Key("Objects", elements.Key("23000003").Values[0].String(), "Elements")
		elements.Create("11000001").Set(device(system))
		elements.Create("12000002").Set(hive.SZ("Element", `\EFI\Microsoft\Boot\bootmgfw.efi`))
		loader.Create("11000001").Set(device(windows))
		loader.Create("21000001").Set(device(windows))
		loader.Create("12000002").Set(hive.SZ("Element", `\WINDOWS\system32\winload.efi`))
	}))

	// Nothing of the old volume may stay where mkfs.fat does not write.
	punch := exec.CommandContext(t.Context(), "fallocate", "--punch-hole", "--keep-size",
		"-o", fmt.Sprint(system.StartBytes), "-l", fmt.Sprint(system.SizeBytes), image.Path)
	if out, err := punch.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", punch.Args, err, out)
	}
	tool(t, "mkfs.fat", "-F", "32", "-s", "2", "-n", "SYSTEM", "-h", fmt.Sprint(system.StartBytes/512),
		"--offset", fmt.Sprint(system.StartBytes/512), image.Path, fmt.Sprint(system.SizeBytes/1024))
	tool(t, "mcopy", "-s", "-Q", "-i", fmt.Sprintf("%s@@%d", image.Path, system.StartBytes),
		filepath.Join(tree, "EFI"), "::/")
	return image.Path
}

// onVolume mounts a partition, and puts it back on the disk if it was changed.
func onVolume(t *testing.T, image winimage.Image, p winimage.Partition, do func(root string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	block := fmt.Sprint(1 << 20)
	start, count := fmt.Sprint(p.StartBytes>>20), fmt.Sprint(p.SizeBytes>>20)
	tool(t, "dd", "if="+image.Path, "of="+path, "bs="+block, "skip="+start, "count="+count, "conv=sparse")
	volume, err := ntfs3g.Mount(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if err := volume.Unmount(); err != nil {
				t.Fatal(err)
			}
		}()
		do(volume.Dir)
	}()
	tool(t, "dd", "if="+path, "of="+image.Path, "bs="+block, "seek="+start, "count="+count, "conv=sparse,notrunc")
}

func edit(t *testing.T, data []byte, minor uint32, change func(root *hive.Key)) []byte {
	t.Helper()
	h, err := hive.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	root, err := h.Root()
	if err != nil {
		t.Fatal(err)
	}
	change(root)
	data, err = hive.Build(root, hive.BuildOptions{Minor: minor})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// guid finds a GUID in a tool's output and gives its binary form.
func guid(t *testing.T, text, pattern string) []byte {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(match[1], "-", ""))
	if err != nil || len(b) != 16 {
		t.Fatalf("%s: %v", match[1], err)
	}
	return []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}
