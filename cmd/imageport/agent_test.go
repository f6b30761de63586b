package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"

	"imageport/platforms"
	"imageport/platforms/local"
	"imageport/testkit/devserver"
)

// newCE gives a driver of the platform local whose agent is the program, and
// the specification of a CE.
func newCE(t *testing.T, name string, lifetime time.Duration) (*local.Driver, platforms.Spec) {
	t.Helper()
	driver, err := local.New(local.Config{
		StateDir: filepath.Join(t.TempDir(), "ce"),
		Env:      []string{envMain + "=1", "TEMPORAL_ADDRESS=" + devserver.Shared(t).Address, "HOME=" + t.TempDir()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Destroy(t.Context(), name); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return driver, platforms.Spec{Name: name, Job: "job", RunID: "run", Owner: "location",
		Seed: platforms.Seed{Name: name, TaskQueue: "ce/" + name[3:], Deadline: time.Now().Add(lifetime)}}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

func TestAgentPollsUntilItIsDestroyed(t *testing.T) {
	driver, spec := newCE(t, "ce-0123456789ab", time.Hour)
	if _, err := driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	c := devserver.Start(t)
	await(t, "polling its queue", func() bool {
		d, err := c.DescribeTaskQueue(t.Context(), spec.Seed.TaskQueue, enums.TASK_QUEUE_TYPE_ACTIVITY)
		return err == nil && len(d.GetPollers()) > 0
	})
	begin := time.Now()
	if err := driver.Destroy(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	t.Logf("it took %v to end", time.Since(begin).Round(time.Millisecond))
	if _, err := driver.Find(t.Context(), spec.Name); err == nil {
		t.Error("it is still there")
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
