package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/platformtest"
)

// The test binary is also the agent's program and the worker that dies.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		os.Exit(agentMain(os.Args[2]))
	}
	if len(os.Args) == 6 && os.Args[1] == "worker" {
		os.Exit(workerMain(os.Args[2:]))
	}
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

// workerMain runs a verb and is killed after one of its steps. Its arguments
// are the verb, the state directory, the step and the Spec.
func workerMain(args []string) int {
	d, err := New(testConfig(args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	left, err := strconv.Atoi(args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d.store.Step = func(string) {
		if left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		left--
	}
	var ce platforms.Spec
	if err := json.Unmarshal([]byte(args[3]), &ce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch platformtest.Verb(args[0]) {
	case platformtest.Create:
		_, err = d.Create(context.Background(), ce)
	case platformtest.Destroy:
		err = d.Destroy(context.Background(), ce.Name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func testConfig(dir string) Config {
	return Config{StateDir: dir, Args: []string{"agent"}}
}

// harness is a state directory of its own.
type harness struct {
	dir     string
	planted []string
}

func (h *harness) Open(t testing.TB) platforms.Driver { return open(t, testConfig(h.dir)) }

func open(t testing.TB, cfg Config) *Driver {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (h *harness) Cut(t testing.TB, verb platformtest.Verb, ce platforms.Spec, n int) bool {
	t.Helper()
	spec, err := json.Marshal(ce)
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.Command(os.Args[0], "worker", string(verb), h.dir, strconv.Itoa(n), string(spec))
	out, err := worker.CombinedOutput()
	if st, ok := worker.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() && st.Signal() == syscall.SIGKILL {
		return false
	}
	if err != nil {
		t.Fatalf("worker: %v\n%s", err, out)
	}
	return true
}

func (h *harness) Kill(t testing.TB, name string) {
	t.Helper()
	pids := agents(t, filepath.Join(h.dir, name))
	if len(pids) != 1 {
		t.Fatalf("kill: %d agents", len(pids))
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) GiveUp(t testing.TB, name, cause string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(h.dir, name, logFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := fmt.Fprintf(log, "one line\n%s%s\n", seed.Failed, cause); err != nil {
		t.Fatal(err)
	}
	h.Kill(t, name)
}

func (h *harness) Plant(t testing.TB, name string) func() bool {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(h.dir, "lost+found")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	h.planted = append(h.planted, name, "lost+found")
	return func() bool {
		b, err := os.ReadFile(path)
		_, dirErr := os.Stat(other)
		return err == nil && string(b) == "mine" && dirErr == nil
	}
}

func (h *harness) Agents(t testing.TB, name string) int {
	return len(agents(t, filepath.Join(h.dir, name)))
}

func (h *harness) Leftovers(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		if !slices.Contains(h.planted, e.Name()) {
			left = append(left, e.Name())
		}
	}
	return left
}

// agents finds the agents of a CE by their command line. A zombie has none.
func agents(t testing.TB, dir string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	arg := []byte("\x00" + filepath.Join(dir, cedir.SeedFile) + "\x00")
	var pids []int
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(b, arg) {
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
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return &harness{dir: dir}
	})
}
