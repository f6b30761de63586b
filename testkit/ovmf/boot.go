package ovmf

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrNoFirmware says that no OVMF firmware is installed.
	ErrNoFirmware = errors.New("ovmf: firmware is not installed")
	// ErrNoVerdict says that the oracle was not reached, or did not get to an
	// end: the machine stopped, the firmware found nothing to boot, or the
	// time was over. The report has what was seen until then.
	ErrNoVerdict = errors.New("ovmf: no verdict")
)

// Options describe one boot.
type Options struct {
	Disk       string        // image to boot from; it is not changed
	Format     string        // of the image, as QEMU calls it; empty is raw
	SectorSize int           // logical, in bytes: 512, also for 0, or 4096
	Timeout    time.Duration // 0 is two minutes
	// BIOS starts the disk with SeaBIOS. Its oracle goes as far as the boot sector
	// of the active partition.
	BIOS       bool
	Screenshot string // if not empty: where to put a PNG of the screen at the verdict
}

const defaultTimeout = 2 * time.Minute

// firmwares are the places of the firmware and its empty NVRAM.
var firmwares = []struct{ code, vars string }{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
}

// nothingToBoot are the firmware's words when it has given up on the disk.
var nothingToBoot = []string{`"EFI Internal Shell"`, "No bootable option or device"}

// Boot boots the disk and waits for the oracle's verdict. If there was one, the
// error is nil, unless the screenshot failed; Report.Passed is the verdict.
func Boot(ctx context.Context, opt Options) (Report, error) {
	if opt.Timeout == 0 {
		opt.Timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opt.Timeout, fmt.Errorf("nothing after %v", opt.Timeout))
	defer cancel()
	dir, err := os.MkdirTemp("", "ovmf-*")
	if err != nil {
		return Report{}, fmt.Errorf("ovmf: %w", err)
	}
	defer os.RemoveAll(dir)
	args, err := arguments(opt, dir)
	if err != nil {
		return Report{}, err
	}
	// The kernel sends the death signal when the thread ends that started
	// the machine, so this thread has to last.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	start := time.Now()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	serial, err := cmd.StdoutPipe()
	if err != nil {
		return Report{}, fmt.Errorf("ovmf: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return Report{}, fmt.Errorf("ovmf: %w", err)
	}
	report, stop := watch(ctx, serial, opt.Screenshot, filepath.Join(dir, "qmp"))
	if stop != nil || opt.Screenshot != "" {
		cmd.Process.Kill() // it would not end by itself
	}
	exit := cmd.Wait()
	report.Duration = time.Since(start)
	switch {
	case report.Verdict != "":
		return report, stop
	case ctx.Err() != nil:
		return report, fmt.Errorf("%w: %w; last words: %q", ErrNoVerdict, context.Cause(ctx), report.lastLine())
	case stop != nil:
		return report, stop
	case exit != nil:
		return report, fmt.Errorf("%w: qemu: %w: %s", ErrNoVerdict, exit, bytes.TrimSpace(complaints.Bytes()))
	}
	return report, fmt.Errorf("%w: machine switched off; last words: %q", ErrNoVerdict, report.lastLine())
}

// arguments are QEMU's; dir is for the files of this one machine.
func arguments(opt Options, dir string) ([]string, error) {
	if opt.Format == "" {
		opt.Format = "raw"
	}
	if _, err := os.Stat(opt.Disk); err != nil {
		return nil, fmt.Errorf("ovmf: %w", err)
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-M", "q35", "-accel", "tcg,thread=multi", "-m", "512",
		"-display", "none", "-nic", "none", "-no-reboot", "-serial", "stdio",
	}
	if !opt.BIOS {
		code, vars, err := firmware(dir)
		if err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+escape(code),
			"-drive", "if=pflash,format=raw,file="+escape(vars))
	}
	args = append(args,
		// What the firmware writes goes to a temporary file. (An ATA disk
		// cannot be read-only.)
		"-drive", "id=disk,if=none,snapshot=on,format="+opt.Format+",file="+escape(opt.Disk))
	switch opt.SectorSize {
	case 0, 512:
		args = append(args, "-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0")
	case 4096: // which QEMU's ATA disks cannot do
		args = append(args, "-device", "virtio-scsi-pci",
			"-device", "scsi-hd,drive=disk,logical_block_size=4096,physical_block_size=4096")
	default:
		return nil, fmt.Errorf("ovmf: sector size %d, want 512 or 4096", opt.SectorSize)
	}
	if opt.Screenshot == "" {
		return append(args, "-vga", "none"), nil
	}
	// The screen must survive the oracle's switching off.
	return append(args, "-vga", "std", "-no-shutdown",
		"-qmp", "unix:"+escape(filepath.Join(dir, "qmp"))+",server=on,wait=off"), nil
}

// escape protects a file name inside a list of options.
func escape(path string) string {
	return strings.ReplaceAll(path, ",", ",,")
}

// firmware finds the firmware, and makes it an NVRAM of its own in dir.
func firmware(dir string) (code, vars string, err error) {
	for _, f := range firmwares {
		if _, err := os.Stat(f.code); err != nil {
			continue
		}
		empty, err := os.ReadFile(f.vars)
		if err != nil {
			return "", "", fmt.Errorf("ovmf: %w", err)
		}
		vars = filepath.Join(dir, "vars.fd")
		if err := os.WriteFile(vars, empty, 0o600); err != nil {
			return "", "", fmt.Errorf("ovmf: %w", err)
		}
		return f.code, vars, nil
	}
	return "", "", fmt.Errorf("%w: no %s; install the package ovmf", ErrNoFirmware, firmwares[0].code)
}

// watch reads the serial port until the machine is switched off, or until the
// error says why to wait no longer.
func watch(ctx context.Context, serial io.Reader, screenshot, qmp string) (Report, error) {
	var report Report
	lines := bufio.NewReader(serial)
	for {
		line, err := lines.ReadString('\n')
		report.add(line)
		if err != nil {
			return report, nil // the machine has ended; how, Wait tells
		}
		for _, words := range nothingToBoot {
			if strings.Contains(line, words) {
				return report, fmt.Errorf("%w: the firmware found nothing to boot", ErrNoVerdict)
			}
		}
		if report.Verdict != "" && screenshot != "" {
			return report, screendump(ctx, qmp, screenshot)
		}
	}
}
