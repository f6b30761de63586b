package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/cedir/cedirtest"
)

func (h *harness) Guest(n int) platforms.Guest {
	return platforms.Guest{Disk: h.OutputDisk(n).Name, Firmware: job.BIOS, MemoryMB: 64, CPUs: 1, NIC: "e1000"}
}

func (h *harness) GuestsOn(t testing.TB, ce string) int {
	return len(cedirtest.GuestProcesses(t, h.CEDir(ce)))
}

// room is the directory of the guest's files.
func (h *harness) room(ce string) string { return filepath.Join(h.CEDir(ce), "guest") }

func (h *harness) SwitchOff(t testing.TB, ce string) {
	t.Helper()
	quit(t.Context(), h.room(ce))
}

func (h *harness) WriteGuest(t testing.TB, ce string, at int64, b []byte) {
	t.Helper()
	pattern := filepath.Join(t.TempDir(), "pattern")
	if err := os.WriteFile(pattern, b, 0o600); err != nil {
		t.Fatal(err)
	}
	monitorLine(t, h.room(ce), fmt.Sprintf(`qemu-io -d /machine/peripheral/%s "write -s %s %d %d"`, guestDiskID, pattern, at, len(b)))
}

// newGuest gives a driver with a CE that is off and has a disk with that content.
func newGuest(t *testing.T, content []byte, change func(*Config)) (d *Driver, guest platforms.Guest) {
	t.Helper()
	d, _ = newDriver(t, talker("", false), change)
	mustCreate(t, d)
	ce := cedirtest.Spec().Name
	disk := d.WorkingDisk(ce)
	disk.SizeBytes = (int64(len(content)) + 1<<20) >> 20 << 20
	ref, err := d.AddOutputDisk(t.Context(), ce, disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(t.Context(), ce); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(ref.Ref, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	return d, platforms.Guest{Disk: disk.Name, Firmware: job.BIOS, MemoryMB: 64, CPUs: 1}
}

func mustStart(t *testing.T, d *Driver, guest platforms.Guest) platforms.GuestState {
	t.Helper()
	g, err := d.StartGuest(t.Context(), cedirtest.Spec().Name, guest)
	if err != nil || !g.Started {
		t.Fatalf("StartGuest: %+v, %v", g, err)
	}
	return g
}

func find(t *testing.T, d *Driver) platforms.GuestState {
	t.Helper()
	g, err := d.FindGuest(t.Context(), cedirtest.Spec().Name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// restarter is what restarts the machine by the reset register at its first
// start, and switches it off at the second one: it counts in the CMOS, which
// outlives a reset.
func restarter() []byte {
	return disk([]byte{
		0xfa,       // cli
		0xb0, 0x7f, // mov $0x7f,%al       which nobody else uses
		0xe6, 0x70, // out %al,$0x70
		0xe4, 0x71, // in  $0x71,%al
		0x3c, 0x5a, // cmp $0x5a,%al
		0x74, 0x0a, // je  off
		0xb0, 0x7f, // mov $0x7f,%al       which nobody else uses
		0xe6, 0x70, // out %al,$0x70
		0xb0, 0x5a, // mov $0x5a,%al
		0xe6, 0x71, // out %al,$0x71
		0xeb, 0x07, // jmp reset
		0xba, 0x04, 0x06, // off: mov $0x604,%dx  PM1a_CNT of q35
		0xb8, 0x00, 0x20, //      mov $0x2000,%ax SLP_EN
		0xef,             //      out %ax,%dx
		0xba, 0xf9, 0x0c, // reset: mov $0xcf9,%dx
		0xb0, 0x06, //        mov $6,%al
		0xee, //        out %al,%dx
		0xf4, // hlt
	})
}

// A guest starts from its disk on every controller, with either firmware; it
// may restart, and its power-off is the end of it.
func TestGuestSwitchesItselfOff(t *testing.T) {
	for name, tc := range map[string]struct {
		controller job.Controller
		content    []byte
		change     func(*platforms.Guest)
	}{
		"AHCI":          {content: talker("", true)},
		"NVMe":          {controller: job.NVMe, content: talker("", true)},
		"virtio":        {controller: job.VirtIO, content: talker("", true)},
		"restart":       {content: restarter()},
		"network cards": {content: talker("", true), change: func(g *platforms.Guest) { g.NIC, g.CPUs = "vmxnet3", 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, guest := newGuest(t, tc.content, nil)
			guest.Controller = tc.controller
			if tc.change != nil {
				tc.change(&guest)
			}
			mustStart(t, d, guest)
			cedirtest.Within(t, 40*time.Second, "off", func() bool { return !find(t, d).On })
			if g := find(t, d); g.Fault != "" || !g.Started {
				t.Errorf("it was switched off by itself: %+v", g)
			}
			if g := mustStart(t, d, guest); g.On {
				t.Errorf("it is on again: %+v", g)
			}
		})
	}
}

// A QEMU that does not come to set up the machine is a failure that leaves no
// guest, and one that is killed is the guest's fault.
func TestGuestFaults(t *testing.T) {
	t.Parallel()
	d, guest := newGuest(t, nil, nil)
	ce := cedirtest.Spec().Name
	program := d.cfg.Program
	d.cfg.Program = "/bin/false"
	if _, err := d.StartGuest(t.Context(), ce, guest); err == nil || !strings.Contains(err.Error(), "QEMU ended before the machine ran (exit status 1)") {
		t.Errorf("got %v", err)
	}
	if _, err := d.FindGuest(t.Context(), ce); platforms.KindOf(err) != platforms.NotFound {
		t.Errorf("there is a guest: %v", err)
	}
	d.cfg.Program = program
	mustStart(t, d, guest)
	for _, pid := range cedirtest.GuestProcesses(t, d.store.Dir(ce)) {
		p, err := cedir.Identify(pid)
		if err != nil {
			t.Fatal(err)
		}
		cedirtest.Kill(t, p)
	}
	if g := find(t, d); g.On || g.Fault != "signal: killed" {
		t.Errorf("got %+v", g)
	}
}

// A worker that dies between the note that the guest is to be switched on and the
// deed leaves a machine that waits: the next call switches it on.
func TestGuestIsSwitchedOnLater(t *testing.T) {
	t.Parallel()
	d, guest := newGuest(t, nil, nil)
	switchOn := d.guests.SwitchOn
	d.guests.SwitchOn = func(context.Context, string) error { return platforms.Errorf(platforms.Busy, "not now") }
	ce := cedirtest.Spec().Name
	if _, err := d.StartGuest(t.Context(), ce, guest); platforms.KindOf(err) != platforms.Busy {
		t.Fatalf("got %v", err)
	}
	wantStatus := func(want string) {
		t.Helper()
		if is, err := status(t.Context(), d.guests.Room(ce)); err != nil || is != want {
			t.Fatalf("it is %q, %v, want %q", is, err, want)
		}
	}
	wantStatus(waiting)
	d.guests.SwitchOn = switchOn
	first := mustStart(t, d, guest)
	wantStatus("running")
	if g := mustStart(t, d, guest); g != first || !g.On {
		t.Errorf("got %+v, then %+v", first, g)
	}
	// What QEMU does not run any more it says.
	m, err := dial(t.Context(), d.guests.Room(ce))
	if err != nil {
		t.Fatal(err)
	}
	err = m.run(t.Context(), "stop", nil, nil)
	m.close()
	if g := find(t, d); err != nil || !g.On || g.Fault != "QEMU: the machine does not run: paused" {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestGuestRefused(t *testing.T) {
	d, _ := newDriver(t, talker("", false), nil)
	good := platforms.Guest{Disk: "x.raw", Firmware: job.UEFI, MemoryMB: 64, CPUs: 1}
	if err := d.CheckGuest(t.Context(), good); err != nil {
		t.Error(err)
	}
	for in, tc := range map[string]struct {
		change func(*platforms.Guest)
		kind   platforms.Kind
	}{
		"controller pvscsi: platform qemu starts":                   {func(g *platforms.Guest) { g.Controller = job.PVSCSI }, platforms.BadRequest},
		`network card "e1000e,netdev=x"`:                            {func(g *platforms.Guest) { g.NIC = "e1000e,netdev=x" }, platforms.BadRequest},
		"65 processors":                                             {func(g *platforms.Guest) { g.CPUs = 65 }, platforms.BadRequest},
		"a guest needs 1048576 MiB of memory, and this machine has": {func(g *platforms.Guest) { g.MemoryMB = maxMemoryMB }, platforms.Full},
	} {
		guest := good
		tc.change(&guest)
		if err := d.CheckGuest(t.Context(), guest); platforms.KindOf(err) != tc.kind || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v; want %s: …%s…", platforms.KindOf(err), err, tc.kind, in)
		}
	}
	d.cfg.FirmwareCode = "/nowhere/code.fd"
	if err := d.CheckGuest(t.Context(), good); platforms.KindOf(err) != platforms.NotFound || !strings.Contains(err.Error(), "edk2-ovmf") {
		t.Errorf("no firmware: %v", err)
	}
}
