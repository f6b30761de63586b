package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"imageport/wallet"
)

// The environment of a test binary that is a writer to be killed: the provider,
// the directory, what it does and before which step it is killed.
const envKill = "IMAGEPORT_TEST_KILL"

func TestMain(m *testing.M) {
	if s := os.Getenv(envKill); s != "" {
		if err := doomed(strings.Split(s, "|")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func openIn(provider, dir string) (wallet.Catalog, error) {
	return wallet.Open(wallet.Config{Provider: provider}.Complete(dir))
}

func doomed(args []string) error {
	last, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	w, err := openIn(args[0], args[1])
	if err != nil {
		return err
	}
	step := 0
	wallet.SetStep(w, func(string) {
		if step++; step > last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it is the end
			select {}
		}
	})
	return change(w, args[2])
}

func change(w wallet.Catalog, what string) error {
	e, err := w.Editor()
	if err != nil {
		return err
	}
	if what == "remove" {
		return e.Remove(context.Background(), "files")
	}
	_, err = e.Add(context.Background(), user("files", "s3cr3t-"+what), true)
	return err
}

// A writer that is killed before any step of a change leaves the old state or
// the new one, whole, and does not keep the next writer from working.
func TestKilledWriter(t *testing.T) {
	for _, provider := range []string{wallet.ProviderFile, wallet.ProviderDir} {
		for _, tc := range []struct{ before, what string }{{"", "first"}, {"old", "new"}, {"old", "remove"}} {
			t.Run(provider+" "+tc.what, func(t *testing.T) {
				states, steps := map[string]bool{}, 0
				for killed := true; killed; steps++ {
					dir := t.TempDir()
					w, err := openIn(provider, dir)
					if err != nil {
						t.Fatal(err)
					}
					if tc.before != "" {
						if err := change(w, tc.before); err != nil {
							t.Fatal(err)
						}
					}
					killed = runDoomed(t, provider, dir, tc.what, steps)
					states[state(t, w, tc.before, tc.what)] = true
					if !killed && state(t, w, tc.before, tc.what) != "new" {
						t.Error("it was not killed, and has done nothing")
					}
					if err := change(w, "next"); err != nil {
						t.Errorf("killed before step %d: the next writer: %v", steps, err)
					}
					if got := state(t, w, tc.before, "next"); got != "new" {
						t.Errorf("killed before step %d: the next writer has left the %s state", steps, got)
					}
					if left, err := filepath.Glob(filepath.Join(dir, "*", "*.new")); err != nil || len(left) > 0 {
						t.Errorf("left: %q, %v", left, err)
					}
				}
				if !states["old"] || !states["new"] || steps < 3 {
					t.Errorf("killed before each of %d steps, it has left %v", steps, states)
				}
			})
		}
	}
}

func runDoomed(t *testing.T, provider, dir, what string, steps int) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envKill+"="+strings.Join([]string{provider, dir, what, strconv.Itoa(steps)}, "|"))
	out, err := cmd.CombinedOutput()
	exit, isExit := errors.AsType[*exec.ExitError](err)
	if isExit && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

// state says whether the wallet is as before a change or as after it; all else
// fails the test.
func state(t *testing.T, w wallet.Catalog, before, what string) string {
	t.Helper()
	c, err := w.Credential(t.Context(), "files")
	if err != nil {
		refused(t, err, "there is no credential")
		if list, err := w.List(t.Context()); err == nil && len(list) > 0 {
			t.Fatalf("there is none, and the list is %v", list)
		}
	}
	switch {
	case err != nil && what == "remove", err == nil && passwordOf(t, c) == "s3cr3t-"+what:
		return "new"
	case err != nil && before == "", err == nil && before != "" && passwordOf(t, c) == "s3cr3t-"+before:
		return "old"
	}
	t.Fatalf("neither the old state nor the new one: %v, %v", c, err)
	return ""
}
