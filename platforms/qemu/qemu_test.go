package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir/cedirtest"
	"imageport/platforms/platformtest"
)

// slowQEMU is the name under which the test binary is a QEMU that takes its time.
const slowQEMU = "slow-qemu"

// The test binary is also the worker that dies.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == slowQEMU {
		time.Sleep(time.Second)
		program := "/usr/bin/qemu-system-x86_64"
		fmt.Fprintln(os.Stderr, syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ()))
		os.Exit(1)
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

// testConfig is that of a small machine whose files are in the directory of a
// cedirtest.Harness.
func testConfig(dir string) Config {
	return Config{
		StateDir: cedirtest.StateDir(dir), OutputDir: cedirtest.OutputDir(dir), Image: filepath.Join(dir, "appliance.raw"),
		Accel: tcg, Firmware: bios, MemoryMB: 64, CPUs: 1, Grace: 2 * time.Second,
	}
}

// testHarness gives a directory with all that testConfig names.
func testHarness(t testing.TB, image []byte) *cedirtest.Harness {
	t.Helper()
	h := cedirtest.New(t)
	if err := os.WriteFile(filepath.Join(h.Dir, "appliance.raw"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func open(t testing.TB, cfg Config) *Driver {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type harness struct {
	*cedirtest.Harness
	program string
}

func (h *harness) Open(t testing.TB) platforms.Driver {
	cfg := testConfig(h.Dir)
	cfg.Program, cfg.StartTimeout = h.program, h.StartTimeout
	return open(t, cfg)
}

// Delay puts a program before QEMU that sleeps first.
func (h *harness) Delay(t testing.TB, _ time.Duration) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.program = filepath.Join(h.Dir, slowQEMU)
	if err := os.Symlink(self, h.program); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) GiveUp(t testing.TB, name, cause string) {
	t.Helper()
	console, err := os.OpenFile(filepath.Join(h.CEDir(name), consoleFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if _, err := fmt.Fprintf(console, "\r\n[   12.345678] %s%s\r\n[   12.345679] reboot: Power down\r\n", seed.Failed, cause); err != nil {
		t.Fatal(err)
	}
	h.Kill(t, name)
}

func (h *harness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("images/disk%d.vmdk", n), SizeBytes: 64 << 20}
}

func (h *harness) OtherDisks() []platforms.OutputDisk {
	return []platforms.OutputDisk{
		{Name: "images/disk.vhdx", SizeBytes: 8 << 20},
		{Name: "images/disk.raw", SizeBytes: 8 << 20},
		{Name: "images/thick.raw", SizeBytes: 8 << 20, Provision: job.ProvisionThick},
		{Name: "images/thick.vmdk", SizeBytes: 8 << 20, Provision: job.ProvisionThick},
		{Name: "images/raw.vmdk", SizeBytes: 8 << 20, Format: platforms.Raw},
		{Name: "images/zeroed.raw", SizeBytes: 8 << 20, Provision: job.ProvisionEagerZeroed},
	}
}

func (h *harness) Attached(t testing.TB, name string) int {
	t.Helper()
	m, err := dial(t.Context(), h.CEDir(name))
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var devices []struct{ Name string }
	if err := m.run(t.Context(), "qom-list", map[string]any{"path": "/machine/peripheral"}, &devices); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range devices {
		if strings.HasPrefix(d.Name, "scsi-") {
			n++
		}
	}
	return n
}

func (h *harness) WriteDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, b []byte) {
	t.Helper()
	pattern := filepath.Join(t.TempDir(), "pattern")
	if err := os.WriteFile(pattern, b, 0o600); err != nil {
		t.Fatal(err)
	}
	device := "qemu-io -d /machine/peripheral/scsi-" + strings.TrimPrefix(disk.Selector, "serial:")
	monitorLine(t, h.CEDir(ce), fmt.Sprintf(`%s "write -s %s %d %d"`, device, pattern, at, len(b)))
	monitorLine(t, h.CEDir(ce), device+" flush")
}

func (h *harness) ReadDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	t.Helper()
	return readDisk(t, disk.Ref, at, n)
}

func (h *harness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	t.Helper()
	return readDisk(t, filepath.Join(cedirtest.OutputDir(h.Dir), name), at, n)
}

// readDisk reads a disk, also one that a machine has, by qemu-img.
func readDisk(t testing.TB, path string, at int64, n int) []byte {
	t.Helper()
	format := strings.TrimPrefix(filepath.Ext(path), ".")
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-U", "-f", format, "-O", "raw", path, raw)
	b, err := os.ReadFile(raw)
	if err != nil || len(b) < int(at)+n {
		t.Fatalf("%s: %d bytes, %v", path, len(b), err)
	}
	return b[at:][:n]
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
	platformtest.Run(t, func(t *testing.T) platformtest.Harness {
		return &harness{Harness: testHarness(t, talker("hello\r\n", false))}
	})
}
