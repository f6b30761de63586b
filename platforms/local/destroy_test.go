package local

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/cedir/cedirtest"
)

// bystander starts a process that no test may harm.
func bystander(t *testing.T) cedir.Process {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p, err := cedir.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Fatal("the bystander is not alive")
	}
	return p
}

// What the record names is not the agent any more: the process id was used again.
func TestStalePIDIsNeverSignalled(t *testing.T) {
	for what, change := range map[string]func(*cedir.Process){
		"other start time": func(p *cedir.Process) { p.Start-- },
		"other boot":       func(p *cedir.Process) { p.Boot = "00000000-0000-0000-0000-000000000000" },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, dir := newDriver(t, nil)
			cedirtest.Kill(t, mustCreate(t, d))
			b := bystander(t)
			stale := b
			change(&stale)
			if err := cedir.ReplaceJSON(filepath.Join(dir, cedir.ProcessFile), stale); err != nil {
				t.Fatal(err)
			}
			if in, err := d.Find(t.Context(), cedirtest.Spec().Name); err != nil || in.State != platforms.Stopped {
				t.Errorf("Find: %+v, %v", in, err)
			}
			if next := mustCreate(t, d); next.PID == b.PID {
				t.Error("Create took the bystander for the agent")
			}
			if err := cedir.ReplaceJSON(filepath.Join(dir, cedir.ProcessFile), stale); err != nil {
				t.Fatal(err)
			}
			// The true agent is found all the same.
			if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
				t.Fatal(err)
			}
			if pids := cedirtest.Processes(t, dir); len(pids) > 0 {
				t.Errorf("agents left: %v", pids)
			}
			if !b.Alive() {
				t.Error("the bystander was harmed")
			}
		})
	}
}

func TestSpoiltRecord(t *testing.T) {
	for _, content := range []string{"", "{", "null", `{"pid":-1}`, `{"pid":0}`, `{"pid":1}`, `{"pid":99999999}`, `[1]`} {
		d, dir := newDriver(t, nil)
		mustCreate(t, d)
		if err := os.WriteFile(filepath.Join(dir, cedir.ProcessFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestStubbornAgent(t *testing.T) {
	t.Parallel()
	const grace = 300 * time.Millisecond
	d, _ := newDriver(t, func(c *Config) { c.Grace, c.Env = grace, []string{agentMode + "=stubborn"} })
	p := mustCreate(t, d)
	began := time.Now()
	if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < grace || took > 10*grace {
		t.Errorf("killed after %v; the grace is %v", took, grace)
	}
	if p.Alive() {
		t.Error("it lives")
	}
}

// An agent's children go with it: also those that ignore SIGTERM, outlive the
// agent, or have a clean environment.
func TestChildrenGo(t *testing.T) {
	for what, dead := range map[string]bool{"agent alive": false, "agent dead": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, dir := newDriver(t, func(c *Config) {
				c.Grace, c.Env = 200*time.Millisecond, []string{agentMode + "=parent"}
			})
			agent := mustCreate(t, d)
			var pids []string
			for end := time.Now().Add(10 * time.Second); len(pids) < 2 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				b, err := os.ReadFile(filepath.Join(dir, logFile))
				if err != nil {
					t.Fatal(err)
				}
				pids = strings.Fields(string(b))
			}
			if len(pids) != 2 {
				t.Fatalf("the agent has the children %q", pids)
			}
			if dead {
				cedirtest.Kill(t, agent)
			}
			if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
				t.Fatal(err)
			}
			for i, s := range pids {
				pid, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				child, err := cedir.Identify(pid)
				lives := err == nil && child.Alive()
				if cleanEnv := i == 1; dead && cleanEnv {
					// Nothing tells it from anybody's process: the one case that is let be.
					syscall.Kill(pid, syscall.SIGKILL)
					continue
				}
				if lives {
					t.Errorf("child %d lives", pid)
				}
			}
		})
	}
}

// A worker that is killed while its agent comes up leaves an agent that has
// claimed nothing yet. Destroy finds that one too.
func TestUnclaimedAgentGoes(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, func(c *Config) { c.Env = []string{agentMode + "=deaf"} })
	ctx, cancel := context.WithCancel(t.Context())
	d.store.Step = func(s string) {
		if s == "started the agent" {
			cancel() // create kills its child then, so we start another one by hand
		}
	}
	if _, err := d.Create(ctx, cedirtest.Spec()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Create: %v", err)
	}
	orphan := exec.Command(os.Args[0], "agent", filepath.Join(dir, cedir.SeedFile))
	orphan.Env = append(os.Environ(), agentMode+"=deaf", cedir.EnvMark+"="+dir)
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it lives")
		orphan.Process.Kill()
	}
}

func TestMarkAndRemoval(t *testing.T) {
	d, dir := newDriver(t, nil)
	mustCreate(t, d)
	b, err := os.ReadFile(filepath.Join(dir, "ce.json"))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]string
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"job", "runId", "owner", "created"} {
		if fields[key] == "" {
			t.Errorf("no %s in %s", key, b)
		}
	}
	// What the agent leaves in its directory goes with it.
	if err := os.MkdirAll(filepath.Join(dir, "spool", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), cedirtest.Spec().Name); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(d.store.StateDir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
