package bootproof_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"imageport/engine/bootproof"
	"imageport/job"
)

// What the program reads of the Windows partition, in bytes.
const (
	readByProgram = 1 * mib
	reading       = "READ=1048576"
)

// A boot manager that runs is followed as far as it gets, and no further.
func TestBoots(t *testing.T) {
	for name, test := range map[string]struct {
		program    func(*testing.T) string
		sectorSize int
		marker     string
		loader     int64 // bytes of the Windows partition that are the loader
		reached    string
		stages     []string // what each begins with
		console    string
	}{
		"the oracle, with nothing to read from Windows": {
			bootOracle, 512, `ORACLE VERDICT`, 0, bootproof.MarkerSeen,
			[]string{
				"firmware started: OVMF_CODE", `boot manager found: "BdsDxe: loading Boot0001 "UEFI QEMU HARDDISK`,
				`boot manager started: "BdsDxe: starting Boot0001 `, `boot manager runs: it wrote to the console: "ORACLE ok started \EFI\BOOT\BOOTX64.EFI (fallback path`,
				`marker seen: "ORACLE VERDICT FAIL bcd-file"; the boot ended after `,
			}, "ORACLE FAIL bcd-file",
		},
		"reads the loader": {
			compiled(reading), 512, "", readByProgram / 2, bootproof.LoaderRead,
			[]string{
				"firmware started: ", "boot manager found: ", "boot manager started: ", `boot manager runs: it wrote to the console: "program has read, and written: Success"`,
				"Windows partition read: 10", "Windows loader read: all 524288 bytes; the boot ended after ",
			}, "written: Success",
		},
		"reads a part of the loader, from sectors of 4096 bytes": {
			compiled(reading), 4096, "", 2 * readByProgram, bootproof.WindowsRead,
			[]string{
				"firmware started: ", `boot manager found: "BdsDxe: loading Boot0001 "UEFI QEMU NVMe Ctrl`, "boot manager started: ", "boot manager runs: ",
				"Windows partition read: 10",
			}, "written: Success",
		},
		"resets the machine": {
			compiled("RESET"), 512, "", 0, bootproof.BootManagerStarted,
			[]string{"firmware started: ", "boot manager found: ", "boot manager started: "}, "BdsDxe: starting",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := newImage(t, test.program(t), test.sectorSize)
			opt := bootproof.Options{Dir: t.TempDir(), WindowsRange: disk.windows, Quiet: 2 * time.Second}
			if test.marker != "" {
				opt.Marker = regexp.MustCompile(test.marker)
			}
			if test.loader > 0 {
				// In two pieces, of which the second lies first.
				half := test.loader / 2
				opt.Loader = []bootproof.Range{{Offset: disk.windows.Offset + half, Length: half}, {Offset: disk.windows.Offset, Length: half}}
			}
			before := sum(t, disk)
			proof, err := bootproof.Prove(t.Context(), disk, opt)
			if err != nil {
				t.Fatal(err)
			}
			wantNothing(t, opt.Dir)
			if sum(t, disk) != before {
				t.Error("the disk was written")
			}
			all := strings.Join(proof.Stages, "\n")
			t.Logf("%.1f s\n%s", proof.Seconds, all)
			if proof.Reached != test.reached || len(proof.Stages) != len(test.stages) {
				t.Fatalf("reached %q in %d stages, want %q in %d", proof.Reached, len(proof.Stages), test.reached, len(test.stages))
			}
			for i, want := range test.stages {
				if !strings.HasPrefix(proof.Stages[i], want) {
					t.Errorf("stage %d is %q, want %q...", i, proof.Stages[i], want)
				}
			}
			if last := proof.Stages[len(proof.Stages)-1]; !strings.Contains(last, "; the boot ended after ") {
				t.Errorf("no reason for the end: %q", last)
			}
			if !strings.Contains(proof.Console, test.console) || strings.ContainsAny(proof.Console, "\x1b\r\x00") || len(proof.Console) > 4096 {
				t.Errorf("console: %q", proof.Console)
			}
			screen, err := png.DecodeConfig(bytes.NewReader(proof.Screenshot))
			if err != nil || screen.Width < 640 || len(proof.Screenshot) > 256<<10 {
				t.Errorf("screenshot of %d bytes: %+v, %v", len(proof.Screenshot), screen, err)
			}
			if test.loader == 0 {
				return
			}
			// All that the program has read, and nothing that was read ahead;
			// but not the pages that firmware had looked at before.
			var n int
			if _, err := fmt.Sscanf(proof.Stages[4], bootproof.WindowsRead+": %d bytes", &n); err != nil || n > readByProgram || n < readByProgram-64<<10 {
				t.Errorf("%d bytes (%v), want about %d: %q", n, err, readByProgram, proof.Stages[4])
			}
		})
	}
}

func sum(t *testing.T, disk image) [sha256.Size]byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(disk, 0, disk.size)); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func compiled(define string) func(*testing.T) string {
	return func(t *testing.T) string { return program(t, define) }
}

// A disk that does not boot is refused, with firmware's words.
func TestRefused(t *testing.T) {
	none := func(*testing.T) string { return "" }
	for name, test := range map[string]struct {
		program func(*testing.T) string
		damage  func(t *testing.T, disk image)
		reached string
		says    []string
	}{
		"no bootx64.efi":  {none, nil, bootproof.FirmwareStarted, []string{"no boot manager on the disk", "failed to load Boot0001", "Not Found"}},
		"gives up, error": {compiled("GIVE_UP=EFI_ABORTED"), nil, bootproof.BootManagerStarted, []string{"returned to firmware", "failed to start Boot0001", "Aborted"}},
		// Firmware then shows its menu.
		"gives up, success": {compiled("GIVE_UP=EFI_SUCCESS"), nil, bootproof.BootManagerStarted, []string{"returned to firmware", "UiApp"}},
		"corrupt GPT": {bootOracle, func(t *testing.T, disk image) {
			for _, at := range []int64{512, disk.size - 512} {
				if _, err := disk.WriteAt(bytes.Repeat([]byte{0xa5}, 512), at); err != nil {
					t.Fatal(err)
				}
			}
		}, bootproof.FirmwareStarted, []string{"no boot manager on the disk", "Not Found"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := newImage(t, test.program(t), 512)
			if test.damage != nil {
				test.damage(t, disk)
			}
			dir := t.TempDir()
			proof, err := bootproof.Prove(t.Context(), disk, bootproof.Options{Dir: dir, WindowsRange: disk.windows})
			wantNothing(t, dir)
			if job.CodeOf(err) != job.BootFailed || proof.Reached != test.reached || len(proof.Screenshot) == 0 {
				t.Fatalf("%v; reached %q", err, proof.Reached)
			}
			t.Log(err)
			for _, want := range append(test.says, `. The console ends with "`, "bootx64.efi") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

func TestTimeIsOver(t *testing.T) {
	t.Parallel()
	disk := newImage(t, "", 512)
	dir := t.TempDir()
	proof, err := bootproof.Prove(t.Context(), disk, bootproof.Options{Dir: dir, Timeout: time.Millisecond})
	if job.CodeOf(err) != job.BootFailed || !strings.Contains(err.Error(), "within 1ms") || proof.Stages == nil {
		t.Errorf("%v, %+v", err, proof)
	}
	wantNothing(t, dir)
}

// interrupted calls back at the first read, and may fail.
type interrupted struct {
	image
	read func() error
}

func (d interrupted) ReadAt(p []byte, off int64) (int, error) {
	if err := d.read(); err != nil {
		return 0, err
	}
	return d.image.ReadAt(p, off)
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	disk := newImage(t, "", 512)
	cause := errors.New("the test's cause")
	dir := t.TempDir()
	for _, after := range []time.Duration{-1, 0, 50 * time.Millisecond, 300 * time.Millisecond, 1500 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if after < 0 {
			cancel(cause)
		}
		time.AfterFunc(after, func() { cancel(cause) })
		begin := time.Now()
		_, err := bootproof.Prove(ctx, disk, bootproof.Options{Dir: dir})
		if !errors.Is(err, cause) {
			t.Errorf("after %v: %v", after, err)
		}
		if took := time.Since(begin); took > after+3*time.Second {
			t.Errorf("after %v it took %v", after, took)
		}
		wantNothing(t, dir)
	}
}

// A share that fails is not the image's fault.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	cause := job.Errorf(job.ShareIO, "", "the share is gone")
	dir := t.TempDir()
	disk := interrupted{newImage(t, "", 512), func() error { return cause }}
	_, err := bootproof.Prove(t.Context(), disk, bootproof.Options{Dir: dir})
	if !errors.Is(err, cause) || job.CodeOf(err) != job.ShareIO {
		t.Error(err)
	}
	wantNothing(t, dir)
}

func TestOptions(t *testing.T) {
	disk := fileDisk{nil, 10 * mib, 512}
	for name, opt := range map[string]bootproof.Options{
		"Windows beyond the end": {WindowsRange: bootproof.Range{Offset: 10 * mib, Length: 1}},
		"negative":               {WindowsRange: bootproof.Range{Offset: -1, Length: 1}},
		"overflow":               {Loader: []bootproof.Range{{Offset: 1, Length: 1<<63 - 1}}},
		"loader too large":       {Loader: []bootproof.Range{{Length: 10 * mib}, {Length: 10 * mib}, {Length: 10 * mib}, {Length: 10 * mib}, {Length: 10 * mib}, {Length: 10 * mib}, {Length: 10 * mib}}},
	} {
		if _, err := bootproof.Prove(t.Context(), disk, opt); err == nil || job.CodeOf(err) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bootproof.Prove(t.Context(), fileDisk{nil, 1000, 1000}, bootproof.Options{}); err == nil {
		t.Error("odd sectors: no error")
	}
	dir := t.TempDir()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := bootproof.Prove(t.Context(), disk, bootproof.Options{Dir: dir}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
}
