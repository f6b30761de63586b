package qemu

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/cedir/cedirtest"
)

// What guests say when they fail, and what firmware says, is the Fault.
func TestFaultOfGuest(t *testing.T) {
	empty := disk(nil)
	copy(empty[510:], []byte{0, 0})
	for name, tc := range map[string]struct {
		image    []byte
		firmware string
		state    platforms.State
		want     string
	}{
		"gave up":            {talker("[    1.5] x\r\n[    9.123456] "+seed.Failed+"no answer\r\n[    9.2] reboot: Power down\r\n", true), bios, platforms.Stopped, "no answer"},
		"panic":              {talker("[    0.123456] Kernel panic - not syncing: VFS\r\n", true), bios, platforms.Stopped, "Kernel panic - not syncing: VFS"},
		"switched off":       {talker("all done\r\n", true), bios, platforms.Stopped, "its console ends with: "},
		"BIOS finds nothing": {empty, bios, platforms.Running, "the firmware found nothing to boot: No bootable device"},
		"UEFI finds nothing": {empty, uefi, platforms.Running, "the firmware found nothing to boot: BdsDxe: failed to load Boot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := newDriver(t, tc.image, func(c *Config) { c.Firmware = tc.firmware })
			if _, err := d.Create(t.Context(), cedirtest.Spec()); err != nil { // it may have ended by now
				t.Fatal(err)
			}
			var in platforms.Instance
			cedirtest.Within(t, 40*time.Second, "so", func() bool {
				var err error
				if in, err = d.Find(t.Context(), cedirtest.Spec().Name); err != nil {
					t.Fatal(err)
				}
				return in.State == tc.state && (in.Fault != "" || tc.want == "")
			})
			if !strings.HasPrefix(in.Fault, tc.want) || tc.want == "" && in.Fault != "" {
				t.Errorf("fault %q, want %q", in.Fault, tc.want)
			}
		})
	}
}

func TestFault(t *testing.T) {
	for _, tc := range []struct{ console, running, stopped string }{
		{"", "", ""},
		{"BdsDxe: failed to load Boot0001 \"UEFI QEMU\" from PciRoot(0x0): Access Denied", "the firmware found nothing to boot: BdsDxe: failed to load Boot0001 \"UEFI QEMU\" from PciRoot(0x0): Access Denied", "the firmware found nothing to boot: BdsDxe: failed to load Boot0001 \"UEFI QEMU\" from PciRoot(0x0): Access Denied"},
		{"BdsDxe: failed to load Boot0001: Not Found\n[    0.000000] Linux version 6.12\n", "", "its console ends with: [    0.000000] Linux version 6.12"},
		{"imageport: BIOS boot loader\nimageport: the UKI on this disk does not match this loader: initrd\n", "", "the UKI on this disk does not match this loader: initrd"},
		{"imageport: starting the kernel\n[    1.000000] x\nlast", "", "its console ends with: last"},
		{seed.Failed + "one\n" + seed.Failed + "two\nreboot: Power down", "", "two"},
		{"somebody said: " + seed.Failed + "not me", "", "its console ends with: somebody said: " + seed.Failed + "not me"},
		{"[    1.000000][    T1] " + seed.Failed + "with the thread", "", "with the thread"},
		{"[    1.000000] Kernel panic - not syncing: a\n[    1.100000] ---[ end Kernel panic - not syncing: a ]---", "", "Kernel panic - not syncing: a ]---"},
		{"[    1.000000] Kernel panic - not syncing: a\n" + seed.Failed + "before", "", "before"},
	} {
		lines := strings.Split(tc.console, "\n")
		if got := fault(lines, platforms.Running); got != tc.running {
			t.Errorf("%q, running: %q, want %q", tc.console, got, tc.running)
		}
		if got := fault(lines, platforms.Stopped); got != tc.stopped {
			t.Errorf("%q, stopped: %q, want %q", tc.console, got, tc.stopped)
		}
	}
}

// A guest that prints for ever fills no disk, and what it printed last can be
// read at any time.
func TestConsoleIsBounded(t *testing.T) {
	t.Parallel()
	const keep = 8 << 10
	d, dir := newDriver(t, chatterer(), func(c *Config) { c.ConsoleKeep = keep })
	mustCreate(t, d)
	size := func() (st syscall.Stat_t) {
		if err := syscall.Stat(filepath.Join(dir, consoleFile), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	for n := range int64(3) {
		cedirtest.Within(t, 30*time.Second, "full", func() bool { return size().Size > (n+1)*4*keep })
		if _, err := d.Find(t.Context(), cedirtest.Spec().Name); err != nil {
			t.Fatal(err)
		}
	}
	p, err := cedir.Recorded(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.cut(dir)
	if used := size().Blocks * 512; used > 2*keep+4096 {
		t.Errorf("the console uses %d bytes, %d are to be kept", used, keep)
	}
	for _, line := range cedir.Tail(filepath.Join(dir, consoleFile), keep/2)[1:50] {
		if line != strings.Repeat("x", 63) {
			t.Fatalf("the end has %q", line)
		}
	}
}
