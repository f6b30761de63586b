package cedirtest

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/platformtest"
)

// Spec gives a CE to be made.
func Spec() platforms.Spec {
	const id = "0123456789ab"
	return platforms.Spec{
		Name: "ce-" + id, Job: "ips/files/pvs/win10", RunID: "run", Owner: "location",
		Seed: platformtest.Seed(id, time.Now().Add(time.Minute).UTC()),
	}
}

// Create makes the CE of Spec, and gives its process.
func Create(t testing.TB, d platforms.Driver, state string) cedir.Process {
	t.Helper()
	if _, err := d.Create(t.Context(), Spec()); err != nil {
		t.Fatal(err)
	}
	p, err := cedir.Recorded(filepath.Join(state, Spec().Name))
	if err != nil || !p.Alive() {
		t.Fatalf("process %+v, %v", p, err)
	}
	return p
}

// Clean destroys the CE of Spec at the end of the test, and checks that nothing
// is left in the state directory, and no process.
func Clean(t testing.TB, d platforms.Driver, state string) {
	t.Cleanup(func() {
		if err := d.Destroy(context.Background(), Spec().Name); err != nil {
			t.Error(err)
		}
		dir := filepath.Join(state, Spec().Name)
		if pids := append(Processes(t, dir), GuestProcesses(t, dir)...); len(pids) > 0 {
			t.Errorf("processes left: %v", pids)
		}
		if left := Entries(t, state); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// Kill ends a process and waits until it counts as dead.
func Kill(t testing.TB, p cedir.Process) {
	t.Helper()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

// Within waits for what is about to happen.
func Within(t testing.TB, wait time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: not %s", wait, what)
		}
	}
}

// Processes finds the processes of the CE in dir by their environment. A zombie
// has none.
func Processes(t testing.TB, dir string) []int {
	t.Helper()
	return carrying(t, cedir.EnvMark+"="+dir)
}

// GuestProcesses finds those of its guest.
func GuestProcesses(t testing.TB, dir string) []int {
	t.Helper()
	return carrying(t, cedir.EnvGuest+"="+dir)
}

// carrying finds the processes that have an entry in their environment.
func carrying(t testing.TB, entry string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	mark := "\x00" + entry + "\x00"
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

// Entries gives the names of what is in a directory.
func Entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
