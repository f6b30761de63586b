package biosboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// machine is a PC with SeaBIOS, which is QEMU's firmware if not told otherwise.
type machine struct {
	memory int      // MiB
	args   []string // device the disk is attached to: drive d
}

// Devices whose disks SeaBIOS reads.
var (
	ide        = []string{"-machine", "pc", "-device", "ide-hd,drive=d"}
	ahci       = []string{"-machine", "q35", "-device", "ide-hd,drive=d"}
	virtioBlk  = []string{"-machine", "q35", "-device", "virtio-blk-pci,drive=d"}
	virtioSCSI = []string{"-machine", "q35", "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d"}
	pvscsi     = []string{"-machine", "pc", "-device", "pvscsi", "-device", "scsi-hd,drive=d"}
	nvme       = []string{"-machine", "q35", "-device", "nvme,drive=d,serial=d"}
)

// run starts the machine and returns what it writes to COM1, when it ends or,
// if until is not empty, when the text was seen. The disk is not changed.
func (m machine) run(t *testing.T, drive, until string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{
		"-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-m", strconv.Itoa(m.memory),
		"-device", "isa-debug-exit,iobase=0xf4",
		"-drive", "if=none,id=d,format=raw,snapshot=on,file=" + drive,
	}, m.args...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &console{until: until, seen: cancel}
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &complaints
	var exit *exec.ExitError // also how isa-debug-exit ends
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		t.Errorf("QEMU: %v", err)
	}
	if ctx.Err() == context.DeadlineExceeded {
		t.Errorf("the machine did not end")
	}
	if complaints.Len() > 0 {
		t.Errorf("QEMU: %s", complaints.String())
	}
	return strings.ReplaceAll(out.text.String(), "\r", "")
}

// console collects COM1, and calls seen when a text has been there.
type console struct {
	text  bytes.Buffer
	until string
	seen  func()
}

func (c *console) Write(p []byte) (int, error) {
	c.text.Write(p)
	if c.until != "" && bytes.Contains(c.text.Bytes(), []byte(c.until)) {
		c.seen()
	}
	return len(p), nil
}

// wantReport is what the kernel says of a loader that follows the protocol; the
// place of its initrd is left to the tests.
func (s standin) wantReport() []string {
	return []string{
		"imageport: starting the kernel",
		"registers 00000001",
		"setup 00020000",
		"loader 000000FF",
		"flags 00000081",
		"heap 0000DE00",
		"video 0000FFFF",
		fmt.Sprintf("kernel %08X", sum(s.linux[4*SectorSize:])),
		fmt.Sprintf("initrd size %08X", len(s.initrd)),
		fmt.Sprintf("initrd sum %08X", sum(s.initrd)),
		"cmdline " + testCmdline,
		"end",
	}
}

// TestBoot starts a kernel from every kind of disk, with little and much memory.
func TestBoot(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	uki := s.uki(t)
	const gib = 1 << 30
	small := newDisk(t, uki, 16<<20, Place{testUKILBA, testStage2LBA})
	large := newDisk(t, uki, 20*gib, Place{10*gib/SectorSize + 7, testStage2LBA})
	huge := newDisk(t, uki, 3<<40, Place{5<<39/SectorSize + 7, 9<<38/SectorSize + 1})

	for _, tt := range []struct {
		name string
		machine
		disk testDisk
		low  uint64 // the initrd's place is at most 8 MiB below
	}{
		{"IDE, 64 MiB", machine{64, ide}, small, 64 << 20},
		{"IDE, disk of 20 GiB", machine{192, ide}, large, 192 << 20},
		{"AHCI, 192 MiB", machine{192, ahci}, small, 192 << 20},
		{"AHCI, disk of 20 GiB", machine{256, ahci}, large, 256 << 20},
		{"virtio-blk, 1 GiB", machine{1024, virtioBlk}, small, 1 << 30},
		{"virtio-blk, UKI behind 2 TiB", machine{192, virtioBlk}, huge, 192 << 20},
		{"virtio-scsi, 5 GiB", machine{5120, virtioSCSI}, small, 2 << 30}, // initrd_addr_max
		{"pvscsi, 256 MiB", machine{256, pvscsi}, small, 256 << 20},
		{"NVMe, 1 GiB", machine{1024, nvme}, large, 1 << 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out := tt.run(t, tt.disk.path, "")
			lines := strings.Split(out, "\n")
			at := uint64(0)
			for _, line := range lines {
				if place, ok := strings.CutPrefix(line, "initrd at "); ok {
					at, _ = strconv.ParseUint(place, 16, 64)
				}
			}
			if at < tt.low-8<<20 || at > tt.low-uint64(len(s.initrd)) || at%pageSize != 0 {
				t.Errorf("initrd at 0x%X, want it at a page close below 0x%X", at, tt.low)
			}
			for _, want := range s.wantReport() {
				if !slices.Contains(lines, want) {
					t.Errorf("no line %q", want)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// TestScreen: what COM1 says is on the screen, too, which the kernel reads.
func TestScreen(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	disk := newDisk(t, s.uki(t), 16<<20, Place{testUKILBA, testStage2LBA})
	out := machine{192, append([]string{"-device", "VGA"}, ide...)}.run(t, disk.path, "")
	_, screen, _ := strings.Cut(out, "\nscreen ")
	for _, text := range []string{"imageport: BIOS boot loader", "imageport: loading the command line", "imageport: loading the initrd", "imageport: starting the kernel"} {
		if !strings.Contains(screen, text) {
			t.Errorf("%q is not on the screen: %q", text, screen)
		}
	}
}

// TestRefuses: what cannot start says why, and the machine does not go on.
func TestRefuses(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	uki := s.uki(t)
	img, err := readImage(bytes.NewReader(uki), int64(len(uki)))
	if err != nil {
		t.Fatal(err)
	}
	place := Place{testUKILBA, testStage2LBA}
	inUKI := func(p piece, off int64) int64 { return testUKILBA*SectorSize + p.offset + off }
	pc := machine{192, virtioBlk}

	for _, tt := range []struct {
		name string
		machine
		damage func(d testDisk)
		want   string
	}{
		{"memory", machine{40, virtioBlk}, nil, "imageport: 40 MiB of memory is not enough for the kernel and its initrd"},
		{"least memory", machine{44, virtioBlk}, nil, "imageport: starting the kernel"},
		{"second stage", pc, func(d testDisk) { d.flip(t, testStage2LBA*SectorSize+1000) }, "imageport: bad stage 2"},
		{"no second stage", pc, func(d testDisk) { d.put(t, make([]byte, Stage2Size), testStage2LBA*SectorSize) }, "imageport: bad stage 2"},
		{"kernel header", pc, func(d testDisk) { d.flip(t, inUKI(img.pieces[0], offHeader)) }, "imageport: the UKI on this disk does not match this loader: kernel's setup"},
		{"command line", pc, func(d testDisk) { d.flip(t, inUKI(img.pieces[1], 3)) }, "does not match this loader: command line"},
		{"kernel", pc, func(d testDisk) { d.flip(t, inUKI(img.pieces[2], 1<<20)) }, "does not match this loader: kernel"},
		{"last byte of the initrd", pc, func(d testDisk) { d.flip(t, inUKI(img.pieces[3], img.pieces[3].size-1)) }, "does not match this loader: initrd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			disk := newDisk(t, uki, 16<<20, place)
			if tt.damage != nil {
				tt.damage(disk)
			}
			if out := tt.run(t, disk.path, tt.want+"\r\n"); !strings.Contains(out, tt.want+"\n") {
				t.Errorf("no %q in\n%s", tt.want, out)
			}
		})
	}

	t.Run("read error", func(t *testing.T) {
		t.Parallel()
		disk := newDisk(t, uki, 16<<20, place)
		// The third read of the initrd.
		lba := (inUKI(img.pieces[3], 2*32<<10)) / SectorSize
		conf := filepath.Join(t.TempDir(), "errors")
		if err := os.WriteFile(conf, fmt.Appendf(nil, "[inject-error]\nevent = \"read_aio\"\nsector = \"%d\"\n", lba+5), 0o600); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(" at LBA 0x%012X", lba)
		out := pc.run(t, "blkdebug:"+conf+":"+disk.path, want+"\r\n")
		if !strings.Contains(out, "imageport: disk read error 0x") || !strings.Contains(out, want+"\n") {
			t.Errorf("no read error%s in\n%s", want, out)
		}
	})

	t.Run("no EDD", func(t *testing.T) {
		t.Parallel()
		disk := newDisk(t, uki, 16<<20, place)
		floppy := machine{192, []string{"-machine", "pc", "-device", "floppy,drive=d,drive-type=288"}}
		if err := disk.Truncate(2880 << 10); err != nil {
			t.Fatal(err)
		}
		const want = "imageport: no EDD"
		if out := floppy.run(t, disk.path, want+"\r\n"); !strings.Contains(out, want+"\n") {
			t.Errorf("no %q in\n%s", want, out)
		}
	})
}

// TestPowerOff: after ten seconds a machine that cannot start is off.
func TestPowerOff(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	disk := newDisk(t, s.uki(t), 16<<20, Place{testUKILBA, testStage2LBA})
	disk.flip(t, testUKILBA*SectorSize+0x600)
	var machines sync.WaitGroup // at once: they only wait
	for _, m := range []machine{{192, ide}, {192, ahci}} {
		machines.Go(func() {
			start := time.Now()
			if out := m.run(t, disk.path, ""); !strings.Contains(out, "does not match") {
				t.Errorf("%v: no error in\n%s", m.args, out)
			}
			if d := time.Since(start); d < 9*time.Second {
				t.Errorf("%v: off after %v: nobody could read the screen", m.args, d)
			}
		})
	}
	machines.Wait()
}
