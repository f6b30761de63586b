package export

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/testkit/oracle"
)

// firmware is OVMF, and a copy of its empty NVRAM.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// TestBoot has UEFI firmware start the program from every kind of file and
// controller. The program is the boot oracle: what it looks for is not there,
// but before that it says how it was started.
func TestBoot(t *testing.T) {
	programs, err := oracle.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(programs.BootMgr)
	if err != nil {
		t.Fatal(err)
	}
	bios := func(Layout) (BIOSCode, error) { return BIOSCode{MBR: []byte{0xF4}}, nil }
	for _, tt := range []struct {
		name   string
		format Format
		opt    Options
		as     string // QEMU's name of the format
		device string
	}{
		{"raw with a BIOS loader on virtio-scsi", Raw, Options{BIOS: bios}, "raw", "scsi-hd"},
		{"VMDK on AHCI", OVA, Options{}, "vmdk", "ide-hd,bus=ide.0"},
		{"VHD on NVMe", VHD, Options{}, "vpc", "nvme,serial=1"},
		{"ISO on AHCI", ISO, Options{}, "raw", "ide-cd,bus=ide.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path, _ := export(t, tt.format, program, tt.opt)
			if tt.format == OVA {
				path = filepath.Join(untar(t, path), "imageport-ce-disk1.vmdk")
			}
			boot(t, path, tt.as, tt.device)
		})
	}
}

// boot waits for the program's first words on the serial port.
func boot(t *testing.T, disk, format, device string) {
	t.Helper()
	vars := filepath.Join(t.TempDir(), "vars.fd")
	empty, err := os.ReadFile(ovmfVars)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vars, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-M", "q35", "-accel", "tcg,thread=multi", "-m", "256",
		"-display", "none", "-vga", "none", "-nic", "none", "-no-reboot", "-serial", "stdio",
		"-drive", "if=pflash,format=raw,readonly=on,file="+ovmfCode,
		"-drive", "if=pflash,format=raw,file="+vars,
		"-drive", "id=disk,if=none,snapshot=on,format="+format+",file="+disk,
		"-device", "virtio-scsi-pci", "-device", device+",drive=disk")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	serial, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	started := false
	for lines := bufio.NewScanner(serial); lines.Scan() && !started; {
		said.WriteString(lines.Text() + "\n")
		started = strings.Contains(lines.Text(), `ORACLE ok started \EFI\BOOT\BOOTX64.EFI`)
		if strings.Contains(lines.Text(), "Shell") || strings.Contains(lines.Text(), "No bootable option") {
			break
		}
	}
	_ = cmd.Process.Kill() // its own end would be a failure, too
	_ = cmd.Wait()
	if !started {
		t.Errorf("the firmware did not start the program: %s", said.String())
	}
}

// untar unpacks an archive with GNU tar, sparse files as such.
func untar(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-x", "-S", "-f", path, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return dir
}
