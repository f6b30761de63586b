package cedirtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// workerMode is the first argument of the test binary as the worker that dies.
const workerMode = "imageport-worker-that-dies"

// Open gives a driver for what is in the directory of a Harness. It tells step
// of each step of a verb.
type Open func(dir string, step func(string)) (platforms.Driver, error)

// Main is called first in TestMain: it makes the test binary also the worker
// that dies.
func Main(open Open) {
	if len(os.Args) != 5 || os.Args[1] != workerMode {
		return
	}
	if err := work(open, os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// work makes a call and is killed after one of its steps.
func work(open Open, dir, steps, encoded string) error {
	left, err := strconv.Atoi(steps)
	if err != nil {
		return err
	}
	var call platformtest.Call
	if err := json.Unmarshal([]byte(encoded), &call); err != nil {
		return err
	}
	d, err := open(dir, func(string) {
		if left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		left--
	})
	if err != nil {
		return err
	}
	return call.Do(context.Background(), d)
}

// Cut makes the call in a worker that dies after step n, as
// platformtest.Harness asks for.
func (h *Harness) Cut(t testing.TB, call platformtest.Call, n int) (finished bool) {
	t.Helper()
	encoded, err := json.Marshal(call)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	worker := exec.Command(os.Args[0], workerMode, h.Dir, strconv.Itoa(n), string(encoded))
	worker.Stdout, worker.Stderr = &out, &out
	worker.WaitDelay = time.Second // a CE that it started has none of it, but another program may
	err = worker.Run()
	if st, ok := worker.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() && st.Signal() == syscall.SIGKILL {
		return false
	}
	if err != nil {
		t.Fatalf("worker: %v\n%s", err, out.String())
	}
	return true
}
