package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir/cedirtest"
	"imageport/platforms/platformtest"
)

// The test binary is also the agent's program and the worker that dies.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		os.Exit(agentMain(os.Args[2]))
	}
	if len(os.Args) == 4 && os.Args[1] == "guest" {
		os.Exit(guestMain(os.Args[2], os.Args[3]))
	}
	cedirtest.Main(func(dir string, step func(string)) (platforms.Driver, error) {
		d, err := New(testConfig(dir))
		if err == nil {
			d.store.Step = step
		}
		return d, err
	})
	os.Exit(m.Run())
}

// agentMode makes the agent of a test misbehave.
const agentMode = "IMAGEPORT_TEST_AGENT"

func agentMain(seedPath string) int {
	mode := os.Getenv(agentMode)
	switch mode {
	case "broken":
		fmt.Fprintln(os.Stderr, "first line\nno licence\x1b[31m to convert")
		return 3
	case "deaf":
		time.Sleep(time.Minute)
	case "slow":
		time.Sleep(time.Second)
	case "stubborn", "parent":
		signal.Ignore(syscall.SIGTERM) // the child of "parent" inherits that
	}
	release, err := Claim(seedPath)
	if errors.Is(err, ErrSuperseded) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer release()
	b, err := os.ReadFile(seedPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := seed.Decode(b)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if mode == "parent" {
		for _, env := range [][]string{os.Environ(), {"EMPTY=1"}} {
			child := exec.Command("sleep", "120")
			child.Env = env
			if err := child.Start(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			fmt.Println(child.Process.Pid)
		}
	}
	time.Sleep(time.Until(s.Deadline))
	return 0
}

// testConfig is for what is in the directory of a cedirtest.Harness.
func testConfig(dir string) Config {
	return Config{
		StateDir: cedirtest.StateDir(dir), OutputDir: cedirtest.OutputDir(dir), Args: []string{"agent"},
		Guest: []string{os.Args[0], "guest", "stay"},
	}
}

func open(t testing.TB, cfg Config) *Driver {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// harness has agents of which each can do what it is told by its mode.
type harness struct {
	*cedirtest.Harness
	mode string
}

func (h *harness) Open(t testing.TB) platforms.Driver {
	cfg := testConfig(h.Dir)
	cfg.StartTimeout = h.StartTimeout
	if h.mode != "" {
		cfg.Env = []string{agentMode + "=" + h.mode}
	}
	return open(t, cfg)
}

// Delay makes agents slow. An agent that comes up late has been killed in most
// cases.
func (h *harness) Delay(testing.TB, time.Duration) { h.mode = "slow" }

func (h *harness) GiveUp(t testing.TB, name, cause string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(h.CEDir(name), logFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := fmt.Fprintf(log, "one line\n%s%s\n", seed.Failed, cause); err != nil {
		t.Fatal(err)
	}
	h.Kill(t, name)
}

func (h *harness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("images/deep/disk%d.raw", n), SizeBytes: 64 << 20}
}

func (h *harness) OtherDisks() []platforms.OutputDisk {
	return []platforms.OutputDisk{
		{Name: "images/raw", SizeBytes: 64 << 20, Format: platforms.Raw, Provision: job.ProvisionThin},
		{Name: "images/thick.img", SizeBytes: 64 << 20, Provision: job.ProvisionThick},
		{Name: "images/zeroed.img", SizeBytes: 64 << 20, Provision: job.ProvisionEagerZeroed},
		{Name: "images/x.vmdk", SizeBytes: 64 << 20},
		{Name: "images/raw.vhdx", SizeBytes: 64 << 20, Format: platforms.Raw},
	}
}

func (h *harness) Attached(t testing.TB, name string) int {
	dir := filepath.Join(h.CEDir(name), disksDir)
	if _, err := os.Stat(dir); err != nil {
		return 0
	}
	return len(cedirtest.Entries(t, dir))
}

// disk gives the file that the agent finds.
func (h *harness) disk(ce string, disk platforms.OutputDiskRef) string {
	return filepath.Join(h.CEDir(ce), disksDir, disk.Selector)
}

func (h *harness) WriteDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(h.disk(ce, disk), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) ReadDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	t.Helper()
	return readAt(t, h.disk(ce, disk), at, n)
}

func (h *harness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	t.Helper()
	return readAt(t, filepath.Join(cedirtest.OutputDir(h.Dir), name), at, n)
}

func readAt(t testing.TB, path string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	_ platformtest.OutputHarness = (*harness)(nil)
	_ platformtest.Writing       = (*harness)(nil)
	_ platformtest.GuestHarness  = (*harness)(nil)
	_ platformtest.GuestWriting  = (*harness)(nil)
	_ platformtest.Failing       = (*harness)(nil)
	_ platformtest.Faulty        = (*harness)(nil)
	_ platformtest.Telling       = (*harness)(nil)
	_ platformtest.Slow          = (*harness)(nil)
)

func TestConformance(t *testing.T) {
	platformtest.Run(t, func(t *testing.T) platformtest.Harness { return &harness{Harness: cedirtest.New(t)} })
}
