package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imageport/platforms"
)

func testSpec() platforms.Spec {
	const id = "0123456789ab"
	return platforms.Spec{
		Name: "ce-" + id, Job: "ips/files/pvs/win10", RunID: "run", Owner: "location",
		Seed: platforms.Seed{Name: "ce-" + id, TaskQueue: "ce/" + id, Deadline: time.Now().Add(time.Minute)},
	}
}

// newDriver gives a driver of its own and the directory of testSpec's CE.

func newDriver(t *testing.T, change func(*Config)) (*Driver, string) {
	t.Helper()
	cfg := testConfig(t.TempDir())
	if change != nil {
		change(&cfg)
	}
	d := open(t, cfg)
	dir := d.dir(testSpec().Name)
	t.Cleanup(func() {
		if err := d.Destroy(context.Background(), testSpec().Name); err != nil {
			t.Error(err)
		}
		if pids := agents(t, dir); len(pids) > 0 {
			t.Errorf("agents left: %v", pids)
		}
	})
	return d, dir
}

func mustCreate(t *testing.T, d *Driver) process {
	t.Helper()
	if _, err := d.Create(t.Context(), testSpec()); err != nil {
		t.Fatal(err)
	}
	p, err := agentOf(d.dir(testSpec().Name))
	if err != nil || !p.alive() {
		t.Fatalf("agent %+v, %v", p, err)
	}
	return p
}

// kill ends a process and waits until it counts as dead.

// bystander starts a process that no test may harm.

// What the record names is not the agent any more: the process id was used again.

// An agent's children go with it: also those that ignore SIGTERM, outlive the

// agent, or have a clean environment.

func TestAgentDoesNotComeUp(t *testing.T) {
	for _, tc := range []struct {
		mode, program, in string
		kind              platforms.Kind
	}{
		{mode: "broken", kind: platforms.Internal, in: "exit status 3): no licence[31m to convert"},
		{mode: "deaf", kind: platforms.Internal, in: "did not claim its Compositing Engine in 200ms"},
		{program: "true", kind: platforms.Internal, in: "ended at once (exit status 0)"},
		{program: "/nowhere/imageport", kind: platforms.NotFound, in: "/nowhere/imageport"},
		{program: "/etc/passwd", kind: platforms.Denied, in: "/etc/passwd"},
	} {
		t.Run(tc.mode+tc.program, func(t *testing.T) {
			t.Parallel()
			d, dir := newDriver(t, func(c *Config) {
				c.Program, c.Env, c.StartTimeout = tc.program, []string{agentMode + "=" + tc.mode}, 200*time.Millisecond
				if tc.mode == "broken" {
					c.StartTimeout = 10 * time.Second
				}
			})
			_, err := d.Create(t.Context(), testSpec())
			if platforms.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.in) {
				t.Errorf("%s: %v; want %s: …%s…", platforms.KindOf(err), err, tc.kind, tc.in)
			}
			if tc.kind != platforms.Internal {
				if checkErr := d.Check(t.Context(), testSpec()); platforms.KindOf(checkErr) != tc.kind {
					t.Errorf("Check does not see it: %v", checkErr)
				}
			}
			for end := time.Now().Add(10 * time.Second); len(agents(t, dir)) > 0; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("agents left: %v", agents(t, dir))
				}
			}
			if in, err := d.Find(t.Context(), testSpec().Name); err != nil || in.State != platforms.Stopped {
				t.Errorf("Find: %+v, %v", in, err)
			}
		})
	}
}

// A worker that is killed while its agent comes up leaves an agent that has

// claimed nothing yet. Destroy finds that one too.

func TestClaim(t *testing.T) {
	dir := t.TempDir()
	seed := filepath.Join(dir, seedFile)
	if _, err := Claim(seed); !errors.Is(err, ErrSuperseded) {
		t.Errorf("no lock file: %v", err)
	}
	lock := filepath.Join(dir, lockFile)
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := Claim(seed)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := agentOf(dir); err != nil || p.PID != os.Getpid() || !p.alive() {
		t.Errorf("recorded %+v, %v", p, err)
	}
	if _, err := Claim(seed); !errors.Is(err, ErrSuperseded) {
		t.Errorf("second claim: %v", err)
	}
	release()
	release, err = Claim(seed)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	release()
	if _, err := Claim(filepath.Join(dir, "gone", seedFile)); !errors.Is(err, ErrSuperseded) {
		t.Errorf("no directory: %v", err)
	}
	// A lock on a file that was replaced keeps nobody out, and so is no claim.
	f, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		if again {
			if err := os.WriteFile(lock, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := tryLock(int(f.Fd()), lock); got || err != nil {
			t.Errorf("there is a new file: %v; got the old one's lock: %v, %v", again, got, err)
		}
	}
}

// Holders of a directory's lock are alone, although each removes the directory

// under the feet of those that wait for it.

func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ce-0123456789ab")
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				release, err := lockDir(t.Context(), dir, true)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d are inside", n)
				}
				inside.Add(-1) // who removes the directory lets the next one in
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
				release()
			}
		})
	}
	wg.Wait()
	if _, err := lockDir(t.Context(), dir, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	release, err := lockDir(t.Context(), dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := lockDir(ctx, dir, true); !errors.Is(err, context.DeadlineExceeded) || kindOf(err) != platforms.Busy {
		t.Errorf("held by another one: %v", err)
	}
}

// A dead agent's lock may outlive it for a moment, and somebody that cannot be

// seen from here, such as an agent in another container, may have it for long.

func TestLockOutlivesAgent(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, func(c *Config) { c.StartTimeout = 5 * time.Second })
	kill(t, mustCreate(t, d))
	fd, err := syscall.Open(filepath.Join(dir, lockFile), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Flock(fd, syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2500*time.Millisecond, func() { syscall.Flock(fd, syscall.LOCK_UN) })
	kill(t, mustCreate(t, d))
	if err := syscall.Flock(fd, syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	d.cfg.StartTimeout = 100 * time.Millisecond
	if _, err := d.Create(t.Context(), testSpec()); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("the lock is never released: %v", err)
	}
	syscall.Flock(fd, syscall.LOCK_UN)
}

// The surroundings of an agent: private files, a session of its own, the

// worker's environment, and nothing but the path in its arguments.

func TestSurroundings(t *testing.T) {
	t.Setenv("TEMPORAL_API_KEY", "from the worker")
	var d *Driver
	var dir string
	func() { // the umask belongs to the process: no other test may run now
		defer syscall.Umask(syscall.Umask(0))
		d, dir = newDriver(t, nil)
		mustCreate(t, d)
	}()
	p, err := agentOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		dir:                             fs.ModeDir | 0o700,
		filepath.Join(dir, markFile):    0o600,
		filepath.Join(dir, seedFile):    0o600,
		filepath.Join(dir, lockFile):    0o600,
		filepath.Join(dir, processFile): 0o600,
		filepath.Join(dir, logFile):     0o600,
	} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if st, err := readStat(p.PID); err != nil || st.session != p.PID {
		t.Errorf("agent %d is in session %d, %v", p.PID, st.session, err)
	}
	args, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cmdline")
	if want := strings.Join([]string{os.Args[0], "agent", filepath.Join(dir, seedFile), ""}, "\x00"); err != nil || !strings.HasSuffix(string(args), want) {
		t.Errorf("arguments %q, %v", args, err)
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/environ")
	if err != nil || !carries(env, "TEMPORAL_API_KEY=from the worker") {
		t.Errorf("the agent lacks the worker's environment (%v)", err)
	}
	if carries(env, "TEMPORAL_API_KEY=from the") || carries(env, "API_KEY=from the worker") {
		t.Error("a part of an entry is taken for the entry")
	}
}

func TestCheckStateDir(t *testing.T) {
	d, _ := newDriver(t, nil)
	if err := os.Chmod(d.cfg.StateDir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context(), testSpec()); platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), "0777") {
		t.Errorf("writable by all: %v", err)
	}
	if _, err := New(Config{}); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("no directory: %v", err)
	}
	if _, err := New(Config{StateDir: "/proc/no/such"}); err == nil {
		t.Error("a directory that cannot be made")
	}
}

// However the state directory is spelt, it is the same one.

func TestStateDirByOtherName(t *testing.T) {
	d, _ := newDriver(t, nil)
	mustCreate(t, d)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(d.cfg.StateDir, link); err != nil {
		t.Fatal(err)
	}
	if other := open(t, testConfig(link)); other.cfg.StateDir != d.cfg.StateDir {
		t.Errorf("%s is taken for %s", link, other.cfg.StateDir)
	}
}
