package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/cedir/cedirtest"
)

// guestMain is the machine of a guest, which starts from the raw disk of that
// path.
func guestMain(mode, disk string) int {
	if st, err := os.Stat(disk); err != nil || st.Size() == 0 {
		fmt.Fprintln(os.Stderr, "no disk:", disk, err)
		return 2
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	switch mode {
	case "crash":
		fmt.Println("starting")
		fmt.Fprintln(os.Stderr, "first line\nstop code\x1b[31m 0x7B")
		return 3
	case "off":
		fmt.Fprintln(os.Stderr, "all is well")
		return 0
	case "parent":
		child := exec.Command("sleep", "120")
		if err := child.Start(); err != nil {
			return 1
		}
		fmt.Println(child.Process.Pid)
	}
	select {
	case <-asked: // what is on the disk switches the machine off
	case <-time.After(2 * time.Minute):
	}
	return 0
}

func (h *harness) Guest(n int) platforms.Guest {
	return platforms.Guest{Disk: h.OutputDisk(n).Name, Firmware: job.UEFI, MemoryMB: 1024, CPUs: 1}
}

func (h *harness) GuestsOn(t testing.TB, ce string) int {
	return len(cedirtest.GuestProcesses(t, h.CEDir(ce)))
}

func (h *harness) SwitchOff(t testing.TB, ce string) {
	t.Helper()
	// A program that has only started does not hear it.
	cedirtest.Within(t, 30*time.Second, "off", func() bool {
		pids := cedirtest.GuestProcesses(t, h.CEDir(ce))
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		return len(pids) == 0
	})
}

// WriteGuest writes to the file that the guest's program has been given.
func (h *harness) WriteGuest(t testing.TB, ce string, at int64, b []byte) {
	t.Helper()
	pids := cedirtest.GuestProcesses(t, h.CEDir(ce))
	if len(pids) != 1 {
		t.Fatalf("guests: %v", pids)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	f, err := os.OpenFile(args[len(args)-1], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// newGuest gives a driver whose guests are as mode says, with a CE that is off
// and has a disk.
func newGuest(t *testing.T, change func(*Config)) (d *Driver, dir string, guest platforms.Guest) {
	t.Helper()
	d, dir = newDriver(t, change)
	mustCreate(t, d)
	ce := cedirtest.Spec().Name
	disk := platforms.OutputDisk{Name: "work.raw", SizeBytes: 1 << 20}
	if _, err := d.AddOutputDisk(t.Context(), ce, disk); err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(t.Context(), ce); err != nil {
		t.Fatal(err)
	}
	return d, dir, platforms.Guest{Disk: disk.Name, Firmware: job.BIOS, MemoryMB: 1, CPUs: 1}
}

// How a guest's program ends is the guest's fault, if it is one.
func TestGuestFault(t *testing.T) {
	for mode, want := range map[string]string{"crash": "exit status 3: stop code 0x7B", "off": "", "killed": "signal: killed", "stopped": ""} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d, dir, guest := newGuest(t, func(c *Config) { c.Guest[2] = mode })
			ce := cedirtest.Spec().Name
			if g, err := d.StartGuest(t.Context(), ce, guest); err != nil || !g.Started {
				t.Fatalf("%+v, %v", g, err)
			}
			switch mode {
			case "killed":
				for _, pid := range cedirtest.GuestProcesses(t, dir) {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			case "stopped":
				if err := d.StopGuest(t.Context(), ce); err != nil {
					t.Fatal(err)
				}
			}
			var g platforms.GuestState
			cedirtest.Within(t, 10*time.Second, "off", func() bool {
				var err error
				if g, err = d.FindGuest(t.Context(), ce); err != nil {
					t.Fatal(err)
				}
				return !g.On
			})
			if g.Fault != want {
				t.Errorf("fault %q, want %q", g.Fault, want)
			}
		})
	}
}

// What a guest's program has started goes with it.
func TestGuestChildrenGo(t *testing.T) {
	t.Parallel()
	d, dir, guest := newGuest(t, func(c *Config) { c.Guest[2] = "parent" })
	ce := cedirtest.Spec().Name
	if _, err := d.StartGuest(t.Context(), ce, guest); err != nil {
		t.Fatal(err)
	}
	cedirtest.Within(t, 10*time.Second, "two", func() bool { return len(cedirtest.GuestProcesses(t, dir)) == 2 })
	if n := cedirtest.Processes(t, dir); len(n) != 0 {
		t.Errorf("processes of the CE: %v", n)
	}
	if err := d.RemoveGuest(t.Context(), ce); err != nil {
		t.Fatal(err)
	}
	if left := cedirtest.GuestProcesses(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

// No agent takes a CE that has a guest, also none that was started before.
func TestLateAgent(t *testing.T) {
	t.Parallel()
	d, dir, guest := newGuest(t, nil)
	ce := cedirtest.Spec().Name
	if _, err := d.StartGuest(t.Context(), ce, guest); err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(filepath.Join(dir, "seed.json")); !errors.Is(err, ErrSuperseded) {
		t.Errorf("claimed: %v", err)
	}
	if err := d.KeepOutputDisk(t.Context(), ce, guest.Disk); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("a guest's disk is kept: %v", err)
	}
}

// What a power cut has left of the record is a guest that was never switched on,
// and no process is taken for it.
func TestSpoiltGuest(t *testing.T) {
	b := bystander(t)
	for _, content := range []string{"", "{", "null", "[1]", `{"process":{"pid":1}}`, fmt.Sprintf(`{"started":true,"process":{"pid":%d}}`, b.PID)} {
		d, dir, guest := newGuest(t, nil)
		ce := cedirtest.Spec().Name
		if err := os.WriteFile(filepath.Join(dir, "guest.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if g, err := d.FindGuest(t.Context(), ce); err != nil || g.On || g.Fault != "" {
			t.Errorf("%q: %+v, %v", content, g, err)
		}
		if _, err := d.Create(t.Context(), cedirtest.Spec()); platforms.KindOf(err) != platforms.Busy {
			t.Errorf("%q: Create: %v", content, err)
		}
		if err := d.StopGuest(t.Context(), ce); err != nil {
			t.Errorf("%q: %v", content, err)
		}
		if err := d.RemoveGuest(t.Context(), ce); err != nil {
			t.Errorf("%q: %v", content, err)
		}
		if g, err := d.StartGuest(t.Context(), ce, guest); err != nil || !g.On {
			t.Errorf("%q: %+v, %v", content, g, err)
		}
	}
	if !b.Alive() {
		t.Error("the bystander was harmed")
	}
}

func TestNoGuestProgram(t *testing.T) {
	for _, tc := range []struct {
		program []string
		kind    platforms.Kind
		in      string
	}{
		{nil, platforms.BadRequest, "set guest under [local]"},
		{[]string{"/nowhere/guestsim"}, platforms.NotFound, "guest under [local]"},
		{[]string{"/etc/passwd"}, platforms.Denied, "/etc/passwd"},
	} {
		d, _, guest := newGuest(t, func(c *Config) { c.Guest = tc.program })
		_, startErr := d.StartGuest(t.Context(), cedirtest.Spec().Name, guest)
		for _, err := range []error{d.CheckGuest(t.Context(), guest), startErr} {
			if platforms.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.in) {
				t.Errorf("%q: %s: %v; want %s: …%s…", tc.program, platforms.KindOf(err), err, tc.kind, tc.in)
			}
		}
		if _, err := d.FindGuest(t.Context(), cedirtest.Spec().Name); !errors.Is(err, platforms.ErrNotFound) {
			t.Errorf("there is a guest: %v", err)
		}
	}
}
