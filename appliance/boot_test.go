package appliance_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// console boots an EFI program under OVMF, from a FAT drive as firmware finds
// it on a stick, until the machine powers itself off, and gives what was said
// on the serial port.
func console(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	boot := filepath.Join(dir, "drive", "EFI", "BOOT")
	if err := os.MkdirAll(boot, 0o755); err != nil {
		t.Fatal(err)
	}
	vars := filepath.Join(dir, "vars.fd")
	for to, from := range map[string]string{filepath.Join(boot, "BOOTX64.EFI"): program, vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"} {
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512", "-no-reboot",
		"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file="+vars,
		"-drive", "if=none,id=boot,format=raw,file=fat:rw:"+filepath.Dir(filepath.Dir(boot)), "-device", "virtio-blk-pci,drive=boot,bootindex=1",
		"-device", "virtio-scsi-pci", "-device", "nvme,serial=1,drive=data", "-drive", "if=none,id=data,driver=null-co,read-zeroes=on,size=1M",
		"-device", "vmxnet3", "-device", "pvscsi", "-device", "virtio-rng-pci")
	var out, complaints bytes.Buffer
	qemu.Stdout, qemu.Stderr = &out, &complaints
	begun := time.Now()
	err := qemu.Run()
	t.Logf("the machine ran %s", time.Since(begun).Round(100*time.Millisecond))
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, complaints.String(), out.String())
	}
	return strings.ReplaceAll(out.String(), "\r", "")
}

// TestBoot boots the appliance with an agent that loads all modules and starts
// all programs.
func TestBoot(t *testing.T) {
	said := console(t, path(t, shared(t), "uki"))
	for _, want := range []string{
		`TEST begin\n`,
		`TEST /proc/cmdline: .*lockdown=integrity.*module.sig_enforce=1`,
		`TEST /etc/imageport-release: NAME=imageport-ce VERSION=\S+ LOCK_SHA256=[0-9a-f]{64}\n`,
		`TEST /sys/kernel/security/lockdown: .*\[integrity\]`,
		`TEST modules: [0-9]+ of [0-9]+ loaded\n`,
		`TEST program /usr/sbin/ntfsresize: <nil>: .*ntfsresize v`,
		`TEST program /usr/bin/ntfs-3g: <nil>: .*ntfs-3g `,
		`TEST end\n`,
	} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("the console does not say %q", want)
		}
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "TEST") {
			t.Log(strings.TrimSpace(line))
		}
		if strings.Contains(line, "TEST failed") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}
