package qemu

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/cedir/cedirtest"
)

// newDriver gives a driver for machines that boot image, and the directory of
// the CE of cedirtest.Spec, which is destroyed at the end of the test.
func newDriver(t *testing.T, image []byte, change func(*Config)) (*Driver, string) {
	t.Helper()
	cfg := testConfig(testHarness(t, image).Dir)
	if change != nil {
		change(&cfg)
	}
	d := open(t, cfg)
	cedirtest.Clean(t, d, d.store.StateDir)
	return d, d.store.Dir(cedirtest.Spec().Name)
}

func mustCreate(t *testing.T, d *Driver) cedir.Process {
	t.Helper()
	return cedirtest.Create(t, d, d.store.StateDir)
}

func console(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, consoleFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The guest gets the very seed that Create was called with, also after a
// restart, which has a seed of its own.
func TestGuestReadsSeed(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, seedReader(), nil)
	for _, token := range []string{"first", "second"} {
		ce := cedirtest.Spec()
		ce.Seed.Gateway.Token = token
		want, err := ce.Seed.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Create(t.Context(), ce); err != nil {
			t.Fatal(err)
		}
		cedirtest.Within(t, 20*time.Second, "printed", func() bool { return strings.Contains(console(t, dir), string(want)) })
		p, err := cedir.Recorded(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cedirtest.Within(t, 10*time.Second, "dead", func() bool { return !p.Alive() })
	}
	if b, err := os.ReadFile(filepath.Join(dir, earlierFile)); err != nil || !strings.Contains(string(b), "first") {
		t.Errorf("the console of the first life: %q, %v", b, err)
	}
}

// A machine whose QEMU does not even get signals is killed.
func TestStubborn(t *testing.T) {
	t.Parallel()
	const grace = 200 * time.Millisecond
	d, _ := newDriver(t, talker("", false), func(c *Config) { c.Grace = grace })
	p := mustCreate(t, d)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < quitPatience || took > quitPatience+20*grace {
		t.Errorf("killed after %v", took)
	}
	if p.Alive() {
		t.Error("it lives")
	}
}

// Destroy asks QEMU to quit before it sends signals.
func TestQuit(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, talker("", false), nil)
	p := mustCreate(t, d)
	quit(t.Context(), dir)
	cedirtest.Within(t, 10*time.Second, "gone", func() bool { return !p.Alive() })
	if in, err := d.Find(t.Context(), cedirtest.Spec().Name); err != nil || in.State != platforms.Stopped || in.Fault != "" {
		t.Errorf("Find: %+v, %v", in, err)
	}
}

// The surroundings of a machine: private files, a session of its own, none of
// the worker's secrets, and names that mean something to option parsers.
func TestSurroundings(t *testing.T) {
	t.Setenv("TEMPORAL_API_KEY", "from the worker")
	odd := filepath.Join(strings.Repeat("long,", 30), `a=b,"c" \d`)
	var d *Driver
	var dir string
	func() { // the umask belongs to the process: no other test may run now
		defer syscall.Umask(syscall.Umask(0))
		d, dir = newDriver(t, talker("", false), func(c *Config) {
			base := filepath.Join(filepath.Dir(c.StateDir), odd)
			if err := os.MkdirAll(base, 0o700); err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(base, "ce,x.raw")
			if err := os.Rename(c.Image, image); err != nil {
				t.Fatal(err)
			}
			c.Image, c.StateDir, c.Firmware = image, filepath.Join(c.StateDir, "..", odd, "state"), uefi
		})
		mustCreate(t, d)
	}()
	if len(filepath.Join(dir, socketFile)) < 108 {
		t.Fatalf("%s is a short path", dir)
	}
	p, err := cedir.Recorded(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ce.json", cedir.SeedFile, cedir.LockFile, cedir.ProcessFile, varsFile, consoleFile, wordsFile} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v; want 0600", name, st.Mode(), err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%s: %v, %v", dir, st.Mode(), err)
	}
	if session, err := unix.Getsid(p.PID); err != nil || session != p.PID {
		t.Errorf("machine %d is in session %d, %v", p.PID, session, err)
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
	if err != nil || strings.Contains(string(env), "TEMPORAL") {
		t.Errorf("QEMU has the worker's way to Temporal: %q, %v", env, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil || !strings.Contains(string(status), "Seccomp:\t2") || !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Errorf("QEMU is in no sandbox: %v\n%s", err, status)
	}
	m, err := dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var nodes []struct {
		Name     string `json:"node-name"`
		ReadOnly bool   `json:"ro"`
		File     string `json:"file"`
	}
	if err := m.run(t.Context(), "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.File == d.cfg.Image && !n.ReadOnly {
			t.Errorf("the image can be written: %+v", n)
		}
	}
	var identity struct {
		UUID string `json:"UUID"`
	}
	if err := m.run(t.Context(), "query-uuid", nil, &identity); err != nil || identity.UUID != "834fb95a-46d7-5705-a429-bbde7ddd9e81" {
		t.Errorf("the CE's identity has changed: %s, %v", identity.UUID, err)
	}
}

func TestArguments(t *testing.T) {
	for network, want := range map[string]string{
		"user":       "-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=,mac=02:83:4f:b9:5a:46",
		"bridge:br0": "-netdev bridge,id=net,br=br0 -device virtio-net-pci,netdev=net,romfile=,mac=02:83:4f:b9:5a:46",
		"tap:ce0":    "-netdev tap,id=net,ifname=ce0,script=no,downscript=no -device virtio-net-pci,netdev=net,romfile=,mac=02:83:4f:b9:5a:46",
		"none":       "resourcecontrol=deny",
	} {
		cfg, err := Config{Image: "/x.raw", Network: network}.complete()
		if err != nil {
			t.Fatal(err)
		}
		args, err := cfg.arguments("ce-0123456789ab", accelArguments[tcg])
		if line := strings.Join(args, " "); err != nil || !strings.HasSuffix(line, want) || !strings.Contains(line, "-sandbox on,") {
			t.Errorf("%s: %s, %v", network, line, err)
		}
		again, err := cfg.arguments("ce-0123456789ab", accelArguments[tcg])
		if err != nil || strings.Join(again, " ") != strings.Join(args, " ") {
			t.Errorf("%s: %q, then %q, %v", network, args, again, err)
		}
		other, err := cfg.arguments("ce-0123456789ac", accelArguments[tcg])
		if err != nil || strings.Contains(strings.Join(other, " "), "02:83:4f:b9:5a:46") {
			t.Errorf("%s: two CEs with one address: %q, %v", network, other, err)
		}
		if host := (&Driver{cfg: cfg}).WorkerHost(); (host == "10.0.2.2") != (network == "user") {
			t.Errorf("%s: the worker's machine is %q", network, host)
		}
	}
}

// A worker that found an image but no machine comes up says what QEMU said.
func TestDoesNotComeUp(t *testing.T) {
	script := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "qemu")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		program, image string
		kind           platforms.Kind
		in             string
	}{
		"no image":   {image: "/nowhere/ce.raw", kind: platforms.NotFound, in: "Could not open '/nowhere/ce.raw': No such file or directory"},
		"no program": {program: "/nowhere/qemu", kind: platforms.NotFound, in: "/nowhere/qemu"},
		"no memory":  {program: "echo 'qemu: cannot set up guest memory: Cannot allocate memory' >&2; exit 1", kind: platforms.Full, in: "exit status 1): qemu: cannot set up guest memory"},
		"silent":     {program: "exit 0", kind: platforms.Internal, in: "(exit status 0): it said nothing"},
		"hangs":      {program: "exec sleep 60", kind: platforms.Busy, in: "has not set up the machine after 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := tc.program
			if program != "" && program[0] != '/' {
				program = script(t, program)
			}
			d, dir := newDriver(t, talker("", false), func(c *Config) {
				c.Program = program
				if tc.image != "" {
					c.Image = tc.image
				}
				if name == "hangs" {
					c.StartTimeout = 300 * time.Millisecond
				}
			})
			_, err := d.Create(t.Context(), cedirtest.Spec())
			if platforms.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.in) {
				t.Errorf("%s: %v; want %s: …%s…", platforms.KindOf(err), err, tc.kind, tc.in)
			}
			cedirtest.Within(t, 10*time.Second, "gone", func() bool { return len(cedirtest.Processes(t, dir)) == 0 })
			in, err := d.Find(t.Context(), cedirtest.Spec().Name)
			if err != nil || in.State != platforms.Stopped || name == "no image" && !strings.Contains(in.Fault, "Could not open") {
				t.Errorf("Find: %+v, %v", in, err)
			}
		})
	}
}

// Whatever /dev/kvm is worth here, "auto" gives a machine that lives.
func TestAuto(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, talker("alive\r\n", false), func(c *Config) { c.Accel = auto })
	mustCreate(t, d)
	t.Logf("auto is %s", d.probed)
	cedirtest.Within(t, 20*time.Second, "alive", func() bool { return strings.Contains(console(t, dir), "alive") })
	for program, want := range map[string]bool{"false": false, "/nowhere/qemu": false, "echo": true, d.cfg.Program: true} {
		if got := comesToLife(t.Context(), program, accelArguments[tcg]); got != want {
			t.Errorf("%s: %v, want %v", program, got, want)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	fresh := &Driver{cfg: d.cfg}
	if got, err := fresh.accelerator(gone); err == nil || fresh.probed != "" {
		t.Errorf("a probe that was cut short says %q, %v", got, err)
	}
}
