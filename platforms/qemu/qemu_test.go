package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/platformtest"
)

// The test binary is also the worker that dies.
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "worker" {
		os.Exit(workerMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// workerMain runs a verb and is killed after one of its steps. Its arguments
// are the verb, the directory of the harness, the step and the Spec.
func workerMain(args []string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d, err := New(testConfig(args[1]))
	if err != nil {
		return fail(err)
	}
	left, err := strconv.Atoi(args[2])
	if err != nil {
		return fail(err)
	}
	d.store.Step = func(string) {
		if left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		left--
	}
	var ce platforms.Spec
	if err := json.Unmarshal([]byte(args[3]), &ce); err != nil {
		return fail(err)
	}
	switch ctx := context.Background(); platformtest.Verb(args[0]) {
	case platformtest.Create:
		_, err = d.Create(ctx, ce)
	case platformtest.Destroy:
		err = d.Destroy(ctx, ce.Name)
	case platformtest.AddDisk:
		_, err = d.AddOutputDisk(ctx, ce.Name, platformtest.OutputDisk())
	case platformtest.KeepDisk:
		err = d.KeepOutputDisk(ctx, ce.Name, platformtest.OutputDisk().Name)
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

// testConfig is that of a small machine whose files are in dir.
func testConfig(dir string) Config {
	return Config{
		StateDir: filepath.Join(dir, "state"), OutputDir: filepath.Join(dir, "output"), Image: filepath.Join(dir, "appliance.raw"),
		Accel: tcg, Firmware: bios, MemoryMB: 64, CPUs: 1, Grace: 2 * time.Second,
	}
}

// testDir gives a directory with all that testConfig names.
func testDir(t testing.TB, image []byte) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"state", "output"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "appliance.raw"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, cfg Config) *Driver {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// harness is a state directory and an output directory of its own.
type harness struct {
	dir                   string
	planted, plantedDisks []string
}

func (h *harness) Open(t testing.TB) platforms.Driver { return open(t, testConfig(h.dir)) }

func (h *harness) ceDir(name string) string { return filepath.Join(h.dir, "state", name) }

func (h *harness) Cut(t testing.TB, verb platformtest.Verb, ce platforms.Spec, n int) bool {
	t.Helper()
	spec, err := json.Marshal(ce)
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.Command(os.Args[0], "worker", string(verb), h.dir, strconv.Itoa(n), string(spec))
	var out bytes.Buffer
	worker.Stdout, worker.Stderr = &out, &out
	worker.WaitDelay = time.Second // a machine that it started has none of it, but a qemu-img may
	err = worker.Run()
	if st, ok := worker.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() && st.Signal() == syscall.SIGKILL {
		return false
	}
	if err != nil {
		t.Fatalf("worker: %v\n%s", err, &out)
	}
	return true
}

func (h *harness) Kill(t testing.TB, name string) {
	t.Helper()
	pids := machines(t, h.ceDir(name))
	if len(pids) != 1 {
		t.Fatalf("kill: %d machines", len(pids))
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) GiveUp(t testing.TB, name, cause string) {
	t.Helper()
	console, err := os.OpenFile(filepath.Join(h.ceDir(name), consoleFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if _, err := fmt.Fprintf(console, "\r\n[   12.345678] %s%s\r\n[   12.345679] reboot: Power down\r\n", seed.Failed, cause); err != nil {
		t.Fatal(err)
	}
	h.Kill(t, name)
}

func (h *harness) Plant(t testing.TB, name string) func() bool {
	t.Helper()
	h.planted = append(h.planted, name)
	return plant(t, h.ceDir(name))
}

func (h *harness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	h.plantedDisks = append(h.plantedDisks, name)
	return plant(t, filepath.Join(h.dir, "output", name))
}

func plant(t testing.TB, path string) func() bool {
	t.Helper()
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		b, err := os.ReadFile(path)
		return err == nil && string(b) == "mine"
	}
}

func (h *harness) RemoveOutput(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(h.dir, "output", name)); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Agents(t testing.TB, name string) int { return len(machines(t, h.ceDir(name))) }

func (h *harness) Leftovers(t testing.TB) []string { return entries(t, h.dir, "state", h.planted) }

func (h *harness) Outputs(t testing.TB) []string {
	return entries(t, h.dir, "output", h.plantedDisks)
}

func (h *harness) Attached(t testing.TB, name string) int {
	t.Helper()
	m, err := dial(t.Context(), h.ceDir(name))
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

func entries(t testing.TB, dir, sub string, planted []string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		if !slices.Contains(planted, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// machines finds the processes of a CE by their environment. A zombie has none.
func machines(t testing.TB, dir string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	mark := "\x00" + cedir.EnvMark + "=" + dir + "\x00"
	var pids []int
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains("\x00"+string(b), mark) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func TestConformance(t *testing.T) {
	platformtest.Run(t, func(t *testing.T) platformtest.Harness {
		return &harness{dir: testDir(t, talker("hello\r\n", false))}
	})
}
