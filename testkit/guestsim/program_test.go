package guestsim_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/firstboot/plan"
	"imageport/testkit/guestsim"
	"imageport/testkit/targetdevice"
)

// The command as platforms start it: with hardly an environment. However it ends,
// nothing is left, and the disk can be switched on again.
func TestProgram(t *testing.T) {
	t.Parallel()
	program := guestsim.Program(t)
	d := newDisk(t)
	p, file := upgrade(t, targetdevice.Build(t, targetdevice.Version740, targetdevice.Hangs))
	p.Steps[0].TimeoutSeconds = 300
	d.inject(t, p, file)
	start := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
		var said bytes.Buffer
		cmd := exec.Command(program, append(args, d.Path)...)
		cmd.Env = []string{"TMPDIR=" + t.TempDir()} // what is killed leaves a folder
		if dir := os.Getenv("IMAGEPORT_TESTKIT_CACHE"); dir != "" {
			cmd.Env = append(cmd.Env, "IMAGEPORT_TESTKIT_CACHE="+dir)
		}
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd, &said
	}
	for i, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		cmd, said := start()
		d.awaitStep(t, i+1)
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || signal == syscall.SIGTERM && (exit.ExitCode() != 1 || said.Len() == 0) {
			t.Errorf("%v: %v: %s", signal, err, said)
		}
		d.awaitDetached(t)
		d.probe(t)
	}
	// That was two attempts: the runner gives up, and Windows switches itself off.
	cmd, said := start("-v")
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "start 1: poweroff") {
		t.Errorf("%v: %s", err, said)
	}
	if o := d.outcome(t); o.State == nil || o.State.Status != plan.Failed || o.State.Failure.Kind != plan.TooManyTries {
		t.Errorf("state %+v\n%s", o.State, o.Log)
	}
	for args, want := range map[string]string{"": "usage:", "-defect rust x": "no defect", "-what x": "not defined"} {
		out, err := exec.Command(program, strings.Fields(args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}

// awaitStep waits until the disk, which a machine is using, says that the step was
// begun so often.
func (d vdisk) awaitStep(t *testing.T, attempts int) {
	t.Helper()
	for range 600 {
		f := d.open(t)
		o, err := readOutcome(t, f, d)
		f.Close()
		if err == nil && o.State != nil && len(o.State.Steps) == 1 && o.State.Steps[0].InFlight && o.State.Steps[0].Attempts == attempts {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("attempt %d was not begun", attempts)
}

// awaitDetached waits until no mount holds the disk any more.
func (d vdisk) awaitDetached(t *testing.T) {
	t.Helper()
	for range 200 {
		out, err := exec.Command("losetup", "-j", d.Path).Output()
		if err != nil {
			t.Fatal(err)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 && !bytes.Contains(mounts, []byte(filepath.Dir(d.Path))) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the disk is still in use")
}
