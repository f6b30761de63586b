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
)

func kill(t *testing.T, p process) {
	t.Helper()
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); p.alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d does not die", p.PID)
		}
	}
}

func bystander(t *testing.T) process {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	st, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p := process{PID: cmd.Process.Pid, Start: st.start, Boot: me.Boot}
	if !p.alive() {
		t.Fatal("the bystander is not alive")
	}
	return p
}

func TestStalePIDIsNeverSignalled(t *testing.T) {
	for what, change := range map[string]func(*process){
		"other start time": func(p *process) { p.Start-- },
		"other boot":       func(p *process) { p.Boot = "00000000-0000-0000-0000-000000000000" },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, dir := newDriver(t, nil)
			kill(t, mustCreate(t, d))
			b := bystander(t)
			stale := b
			change(&stale)
			if err := replaceJSON(filepath.Join(dir, processFile), stale); err != nil {
				t.Fatal(err)
			}
			if in, err := d.Find(t.Context(), testSpec().Name); err != nil || in.State != platforms.Stopped {
				t.Errorf("Find: %+v, %v", in, err)
			}
			if next := mustCreate(t, d); next.PID == b.PID {
				t.Error("Create took the bystander for the agent")
			}
			if err := replaceJSON(filepath.Join(dir, processFile), stale); err != nil {
				t.Fatal(err)
			}
			// The true agent is found all the same.
			if err := d.Destroy(t.Context(), testSpec().Name); err != nil {
				t.Fatal(err)
			}
			if pids := agents(t, dir); len(pids) > 0 {
				t.Errorf("agents left: %v", pids)
			}
			if !b.alive() {
				t.Error("the bystander was harmed")
			}
		})
	}
}

func TestSpoiltRecord(t *testing.T) {
	for _, content := range []string{"", "{", "null", `{"pid":-1}`, `{"pid":0}`, `{"pid":1}`, `{"pid":99999999}`, `[1]`} {
		d, dir := newDriver(t, nil)
		mustCreate(t, d)
		if err := os.WriteFile(filepath.Join(dir, processFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Destroy(t.Context(), testSpec().Name); err != nil {
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
	if err := d.Destroy(t.Context(), testSpec().Name); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < grace || took > 10*grace {
		t.Errorf("killed after %v; the grace is %v", took, grace)
	}
	if p.alive() {
		t.Error("it lives")
	}
}

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
				kill(t, agent)
			}
			if err := d.Destroy(t.Context(), testSpec().Name); err != nil {
				t.Fatal(err)
			}
			for i, s := range pids {
				pid, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				st, err := readStat(pid)
				lives := err == nil && st.live()
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

func TestUnclaimedAgentGoes(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, func(c *Config) { c.Env = []string{agentMode + "=deaf"} })
	ctx, cancel := context.WithCancel(t.Context())
	d.step = func(s string) {
		if s == "started the agent" {
			cancel() // create kills its child then, so we start another one by hand
		}
	}
	if _, err := d.Create(ctx, testSpec()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Create: %v", err)
	}
	orphan := exec.Command(os.Args[0], "agent", filepath.Join(dir, seedFile))
	orphan.Env = append(os.Environ(), agentMode+"=deaf", envMark+"="+dir)
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	if err := d.Destroy(t.Context(), testSpec().Name); err != nil {
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
	b, err := os.ReadFile(filepath.Join(dir, markFile))
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
	if err := d.Destroy(t.Context(), testSpec().Name); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(d.cfg.StateDir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestParseStat(t *testing.T) {
	line := func(comm string) string {
		return "42 (" + comm + ") S 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 987654 1 2"
	}
	for _, comm := range []string{"imageport", "a b", "a) R 9 9 9 (", "(", ")", "", "\n"} {
		got, err := parseStat([]byte(line(comm)))
		if want := (stat{state: 'S', session: 41, start: 987654}); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", comm, got, err, want)
		}
	}
	for _, bad := range []string{"", "42", "42 (x) S", "42 (x) ", strings.ReplaceAll(line("x"), "987654", "soon"), strings.ReplaceAll(line("x"), " 41 ", " x ")} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if st, err := readStat(zombie.Process.Pid); err != nil {
			t.Fatal(err)
		} else if !st.live() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a zombie counts as alive")
		}
	}
	if !(stat{state: 'T'}).live() {
		t.Error("a stopped process counts as gone")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a b) S 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 987654 1 2"))
	f.Add([]byte(") "))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b) })
}
