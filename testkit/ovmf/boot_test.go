package ovmf_test

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/testkit/ovmf"
	"imageport/testkit/winimage"
)

// disk is the smallest that has what the boot needs.
var disk = winimage.Spec{SizeBytes: 512 << 20, SystemReservedMiB: 110, BootFiles: winimage.SmallBootFiles}

// Others, of the same kind.
var (
	disk4Kn = with(func(s *winimage.Spec) { s.SectorSize, s.SystemReservedMiB, s.SizeBytes = 4096, 300, 640<<20 })
	// With a data partition, and devices that the boot manager has to find.
	generalised = with(func(s *winimage.Spec) {
		s.Devices, s.Data = winimage.LocateDevices, []winimage.Data{{Letter: "D", MiB: 16}}
	})
	dirty = with(func(s *winimage.Spec) { s.DirtySystemHive = true })
)

func with(change func(s *winimage.Spec)) winimage.Spec {
	s := disk
	change(&s)
	return s
}

// A disk that was converted by hand boots, and one that was converted badly
// does not, for the reason that it was: the oracle tells the one from the other.
func TestBootConvertedByHand(t *testing.T) {
	for name, test := range map[string]struct {
		spec     winimage.Spec
		sabotage sabotage
		failed   string // check that fails; empty: PASS
		detail   string // of that check, or of one of those that did not fail
	}{
		"well":                        {disk, sabotage{}, "", "SYSTEM sequence 1/1 computer PVS-GOLD"},
		"well, sectors of 4096 bytes": {disk4Kn, sabotage{}, "", `\Recovery\WindowsRE\Winre.wim on partition 2`},
		"well, devices to be located": {generalised, sabotage{}, "", "D: "},
		"BCD still names MBR partitions": {
			disk, sabotage{keepMBRDevices: true}, "bootmgr-device", "still names an MBR partition"},
		"GUID of another disk": {
			disk, sabotage{wrongDiskGUID: true}, "bootmgr-device", "is not the GPT's"},
		"winload.efi is missing": {
			disk, sabotage{noWinload: true}, "osloader-path", "no such file"},
		"winload.efi is missing, and to be located": {
			generalised, sabotage{noWinload: true}, "osloader-device", "is on 0 volumes"},
		"drive letters were forgotten": {
			disk, sabotage{keepDriveLetters: true}, "mounted-devices", "C: is no GPT partition (12 bytes)"},
		"only that of C: was not": {
			generalised, sabotage{keepOtherLetters: true}, "drive-letters", "D: is no GPT partition (12 bytes)"},
		"hive was not written to the end": {
			dirty, sabotage{keepHive: true}, "system-hive", "sequence 42/41: sequence numbers differ"},
		"Windows RE was forgotten": {
			disk, sabotage{keepRecovery: true}, "recovery-device", "still names an MBR partition"},
		"Windows RE is missing": {
			disk, sabotage{noWinRE: true}, "recovery-device", `\Recovery\WindowsRE\Winre.wim on partition 2: no such file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := ovmf.Options{Disk: convert(t, test.spec, test.sabotage), SectorSize: test.spec.SectorSize}
			if name == "well" {
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
				if !slices.ContainsFunc(report.Checks, func(c ovmf.Check) bool { return strings.Contains(c.Detail, test.detail) }) {
					t.Errorf("nothing was said of %q", test.detail)
				}
			case report.Passed || !failed || report.Verdict != "FAIL "+test.failed:
				t.Errorf("passed, or failed elsewhere; want %s", test.failed)
			case check.Name != test.failed || !strings.Contains(check.Detail, test.detail):
				t.Errorf("%+v, want %s: ... %s", check, test.failed, test.detail)
			}
			if opt.Screenshot == "" {
				return
			}
			screen, err := png.DecodeConfig(bytes.NewReader(read(t, opt.Screenshot)))
			if err != nil || screen.Width < 640 {
				t.Errorf("screenshot: %+v, %v", screen, err)
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
	return cached(t, disk)
}

func cached(t *testing.T, spec winimage.Spec) winimage.Image {
	t.Helper()
	image, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return image
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
