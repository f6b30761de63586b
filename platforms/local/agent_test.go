package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/cedir/cedirtest"
)

// newDriver gives a driver of its own and the directory of the CE of
// cedirtest.Spec.
func newDriver(t *testing.T, change func(*Config)) (*Driver, string) {
	t.Helper()
	cfg := testConfig(cedirtest.New(t).Dir)
	if change != nil {
		change(&cfg)
	}
	d := open(t, cfg)
	cedirtest.Clean(t, d, d.store.StateDir)
	return d, d.store.Dir(cedirtest.Spec().Name)
}

func mustCreate(t *testing.T, d *Driver) cedir.Process {
	t.Helper()
	return cedirtest.Create(t, d, d.store.StateDir)
}

func TestAgentDoesNotComeUp(t *testing.T) {
	for _, tc := range []struct {
		mode, program, in string
		kind              platforms.Kind
	}{
		{mode: "broken", kind: platforms.Internal, in: "exit status 3): no licence to convert"},
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
			_, err := d.Create(t.Context(), cedirtest.Spec())
			if platforms.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.in) {
				t.Errorf("%s: %v; want %s: …%s…", platforms.KindOf(err), err, tc.kind, tc.in)
			}
			if tc.kind != platforms.Internal {
				if checkErr := d.Check(t.Context(), cedirtest.Spec()); platforms.KindOf(checkErr) != tc.kind {
					t.Errorf("Check does not see it: %v", checkErr)
				}
			}
			cedirtest.Within(t, 10*time.Second, "without an agent", func() bool { return len(cedirtest.Processes(t, dir)) == 0 })
			if in, err := d.Find(t.Context(), cedirtest.Spec().Name); err != nil || in.State != platforms.Stopped {
				t.Errorf("Find: %+v, %v", in, err)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	dir := t.TempDir()
	seed := filepath.Join(dir, cedir.SeedFile)
	if _, err := Claim(seed); !errors.Is(err, ErrSuperseded) {
		t.Errorf("no lock file: %v", err)
	}
	lock := filepath.Join(dir, cedir.LockFile)
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := Claim(seed)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := cedir.Recorded(dir); err != nil || p.PID != os.Getpid() || !p.Alive() {
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
	if _, err := Claim(filepath.Join(dir, "gone", cedir.SeedFile)); !errors.Is(err, ErrSuperseded) {
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
		if got, err := cedir.TryLock(int(f.Fd()), lock); got || err != nil {
			t.Errorf("there is a new file: %v; got the old one's lock: %v, %v", again, got, err)
		}
	}
}

// A dead agent's lock may outlive it for a moment, and somebody that cannot be
// seen from here, such as an agent in another container, may have it for long.
func TestLockOutlivesAgent(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, func(c *Config) { c.StartTimeout = 5 * time.Second })
	cedirtest.Kill(t, mustCreate(t, d))
	fd, err := syscall.Open(filepath.Join(dir, cedir.LockFile), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Flock(fd, syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2500*time.Millisecond, func() { syscall.Flock(fd, syscall.LOCK_UN) })
	cedirtest.Kill(t, mustCreate(t, d))
	if err := syscall.Flock(fd, syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	d.store.StartTimeout = 100 * time.Millisecond
	if _, err := d.Create(t.Context(), cedirtest.Spec()); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("the lock is never released: %v", err)
	}
	syscall.Flock(fd, syscall.LOCK_UN)
}

// The surroundings of an agent: private files, a session of its own, nothing of
// the worker's environment, and nothing but the path in its arguments.
func TestSurroundings(t *testing.T) {
	t.Setenv("TEMPORAL_API_KEY", "from the worker")
	var d *Driver
	var dir string
	func() { // the umask belongs to the process: no other test may run now
		defer syscall.Umask(syscall.Umask(0))
		d, dir = newDriver(t, nil)
		mustCreate(t, d)
	}()
	p, err := cedir.Recorded(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		dir:                                   fs.ModeDir | 0o700,
		filepath.Join(dir, "ce.json"):         0o600,
		filepath.Join(dir, cedir.SeedFile):    0o600,
		filepath.Join(dir, cedir.LockFile):    0o600,
		filepath.Join(dir, cedir.ProcessFile): 0o600,
		filepath.Join(dir, logFile):           0o600,
	} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if session, err := unix.Getsid(p.PID); err != nil || session != p.PID {
		t.Errorf("agent %d is in session %d, %v", p.PID, session, err)
	}
	args, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cmdline")
	if want := strings.Join([]string{os.Args[0], "agent", filepath.Join(dir, cedir.SeedFile), ""}, "\x00"); err != nil || !strings.HasSuffix(string(args), want) {
		t.Errorf("arguments %q, %v", args, err)
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/environ")
	if err != nil || !bytes.Contains(env, []byte("PATH="+os.Getenv("PATH")+"\x00")) {
		t.Errorf("the agent has no PATH (%v)", err)
	}
	if bytes.Contains(env, []byte("TEMPORAL")) {
		t.Errorf("the agent has the worker's way to Temporal: %q", env)
	}
}

func TestCheckStateDir(t *testing.T) {
	d, _ := newDriver(t, nil)
	if err := os.Chmod(d.store.StateDir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context(), cedirtest.Spec()); platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), "0777") {
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
	if err := os.Symlink(d.store.StateDir, link); err != nil {
		t.Fatal(err)
	}
	if other := open(t, Config{StateDir: link}); other.store.StateDir != d.store.StateDir {
		t.Errorf("%s is taken for %s", link, other.store.StateDir)
	}
}
