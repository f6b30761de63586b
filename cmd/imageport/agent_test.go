package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/platforms"
	"imageport/platforms/local"
	"imageport/platforms/platformtest"
)

// newCE gives a driver of the platform local whose agent is the program, and
// the specification of a CE whose gateway does not answer.
func newCE(t *testing.T, name string, lifetime time.Duration) (*local.Driver, platforms.Spec) {
	t.Helper()
	driver, err := local.New(local.Config{StateDir: filepath.Join(t.TempDir(), "ce"), Env: []string{envMain + "=1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Destroy(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return driver, platforms.Spec{Name: name, Job: "job", RunID: "run", Owner: "location",
		Seed: platformtest.Seed(name[3:], time.Now().Add(lifetime))}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

func TestAgentSaysWhyItGivesUp(t *testing.T) {
	driver, spec := newCE(t, "ce-0123456789ab", time.Hour)
	spec.Seed.Gateway.Address, spec.Seed.Gateway.Patience = "127.0.0.1:1", 5
	if _, err := driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	var ce platforms.Instance
	await(t, "stopped", func() bool {
		var err error
		ce, err = driver.Find(t.Context(), spec.Name)
		return err == nil && ce.State == platforms.Stopped
	})
	// The last try may be cut short by the end of the patience, not refused.
	if !strings.Contains(ce.Fault, "the gateway 127.0.0.1:1 cannot be reached: dial tcp 127.0.0.1:1") {
		t.Errorf("fault %q", ce.Fault)
	}
}

func TestAgentEndsAtItsDeadline(t *testing.T) {
	driver, spec := newCE(t, "ce-0123456789ac", 1500*time.Millisecond)
	if _, err := driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	await(t, "stopped", func() bool {
		ce, err := driver.Find(t.Context(), spec.Name)
		return err == nil && ce.State == platforms.Stopped
	})
	if time.Now().Before(spec.Seed.Deadline) {
		t.Error("it ended before its deadline")
	}
}

// An agent whose CE was destroyed before it came up has nothing to do.
func TestSupersededAgent(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "seed.json")
	if r := call(t.Context(), "", "agent", "--seed", seed); r.code != exitOK || r.err != "" {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(seed); err == nil {
		t.Error("it made the seed")
	}
}
