package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"imageport/platforms"
)

// Config is the configuration of the local platform.
type Config struct {
	// StateDir holds one directory per CE. It is made if need be, and must
	// belong to the worker's user and be writable by nobody else.
	StateDir string
	// Program is the agent's program, by default the running one.
	Program string
	// Args are the arguments before the path of the seed file, by default
	// "agent", "--seed". Everybody on the machine can read them.
	Args []string
	// Env are "NAME=value" entries that the agent gets beside the worker's
	// own environment, which carries the connection to Temporal.
	Env []string
	// Grace is how long Destroy waits between SIGTERM and SIGKILL, by default 5 s.
	Grace time.Duration
	// StartTimeout is how long Create waits for the agent to claim its CE, by
	// default 30 s.
	StartTimeout time.Duration
	// Now gives the time of creation, by default time.Now.
	Now func() time.Time
}

const (
	// envMark is the variable, inherited by all that an agent starts, whose
	// value is the CE's directory.
	envMark = "IMAGEPORT_CE_DIR"
	// killWait is how long a process may take to vanish after SIGKILL.
	killWait = 10 * time.Second
)

// Driver is the platforms.Driver of the local platform.
type Driver struct {
	cfg  Config
	step func(string) // told after each step of Create and Destroy; the tests die there
}

var _ platforms.Driver = (*Driver)(nil)

// New gives the driver for the CEs in cfg.StateDir. Several drivers, also in
// several processes, may work on one state directory.
func New(cfg Config) (*Driver, error) {
	if cfg.StateDir == "" {
		return nil, platforms.Errorf(platforms.BadRequest, "local platform: no state directory")
	}
	if cfg.Program == "" {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("local platform: find the running program: %w", err)
		}
		cfg.Program = program
	}
	if cfg.Args == nil {
		cfg.Args = []string{"agent", "--seed"}
	}
	cfg.Grace = cmp.Or(cfg.Grace, 5*time.Second)
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, 30*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	// One spelling of the path for all workers: processes are found by it.
	err := os.MkdirAll(cfg.StateDir, 0o700)
	if err == nil {
		cfg.StateDir, err = filepath.EvalSymlinks(cfg.StateDir)
	}
	if err == nil {
		cfg.StateDir, err = filepath.Abs(cfg.StateDir)
	}
	if err != nil {
		return nil, &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("local platform: state directory: %w", err)}
	}
	return &Driver{cfg: cfg, step: func(string) {}}, nil
}

func (d *Driver) dir(name string) string { return filepath.Join(d.cfg.StateDir, name) }

// fail gives err its kind, and says what failed.
func fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("%s %s: %w", op, name, err)}
}

// Check implements platforms.Driver.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	if err := errors.Join(ctx.Err(), ce.Validate()); err != nil {
		return fail("check", ce.Name, err)
	}
	st, err := os.Stat(d.cfg.StateDir)
	if err != nil {
		return fail("check", ce.Name, err)
	}
	// Whoever can write here can make the worker run and kill processes.
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return platforms.Errorf(platforms.Denied,
			"check %s: the state directory %s (mode %04o) must belong to the worker's user, and only it may write there",
			ce.Name, d.cfg.StateDir, st.Mode().Perm())
	}
	const write, search = 2, 1 // access(2)
	if err := syscall.Access(d.cfg.StateDir, write|search); err != nil {
		return fail("check", ce.Name, &fs.PathError{Op: "write to", Path: d.cfg.StateDir, Err: err})
	}
	if _, err := exec.LookPath(d.cfg.Program); err != nil {
		return fail("check", ce.Name, err)
	}
	return nil
}

// Create implements platforms.Driver.
func (d *Driver) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	if err := ce.Validate(); err != nil {
		return platforms.Instance{}, fail("create", ce.Name, err)
	}
	for {
		in, done, err := d.create(ctx, ce)
		if err != nil {
			return platforms.Instance{}, fail("create", ce.Name, err)
		}
		if done {
			return in, nil
		}
	}
}

// create does it. If it finds a CE that is half destroyed, it only destroys
// the other half, and is not done.
func (d *Driver) create(ctx context.Context, ce platforms.Spec) (in platforms.Instance, done bool, err error) {
	dir := d.dir(ce.Name)
	release, err := lockDir(ctx, dir, true)
	if err != nil {
		return in, false, err
	}
	defer release()
	d.step("made the directory")
	if _, err := os.Lstat(filepath.Join(dir, doomFile)); err == nil {
		// Its agent may run still, but it may have been told to end.
		return in, false, d.destroy(ctx, dir)
	}
	if err := d.mark(dir, ce); err != nil {
		return in, false, err
	}
	if p, err := agentOf(dir); err != nil {
		return in, false, err
	} else if !p.alive() {
		if err := d.prepare(dir, ce.Seed); err != nil {
			return in, false, err
		}
		if err := d.start(ctx, dir); err != nil {
			return in, false, err
		}
	}
	in, err = d.Find(ctx, ce.Name)
	return in, err == nil, err
}

// mark makes the CE the job's, unless it is another one's.
func (d *Driver) mark(dir string, ce platforms.Spec) error {
	path := filepath.Join(dir, markFile)
	var m mark
	marked, err := readJSON(path, &m)
	switch {
	case err != nil:
		return err
	case !marked:
		err := replaceJSON(path, mark{Job: ce.Job, RunID: ce.RunID, Owner: ce.Owner, Created: d.cfg.Now().UTC()})
		d.step("wrote " + markFile)
		return err
	case m.Job != ce.Job || m.Owner != ce.Owner:
		return platforms.Errorf(platforms.Foreign, "the name belongs to job %q of resource location %q", m.Job, m.Owner)
	}
	return nil
}

// prepare makes what an agent needs to come up.
func (d *Driver) prepare(dir string, seed platforms.Seed) error {
	b, err := seed.Encode()
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(dir, seedFile), b); err != nil {
		return err
	}
	d.step("wrote " + seedFile)
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	d.step("made " + lockFile)
	return lock.Close()
}

// agentOf gives the agent that claimed the CE last. If there was none, it
// gives a process that is not alive.
func agentOf(dir string) (process, error) {
	var p process
	_, err := readJSON(filepath.Join(dir, processFile), &p)
	return p, err
}

// Destroy implements platforms.Driver.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	if !platforms.ValidName(name) {
		return platforms.Errorf(platforms.BadRequest, "destroy: %q is no name for a CE", name)
	}
	dir := d.dir(name)
	release, err := lockDir(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail("destroy", name, err)
	}
	defer release()
	return fail("destroy", name, d.destroy(ctx, dir))
}

// Find implements platforms.Driver.
func (d *Driver) Find(ctx context.Context, name string) (platforms.Instance, error) {
	if !platforms.ValidName(name) {
		return platforms.Instance{}, platforms.Errorf(platforms.BadRequest, "find: %q is no name for a CE", name)
	}
	if err := ctx.Err(); err != nil {
		return platforms.Instance{}, fail("find", name, err)
	}
	dir := d.dir(name)
	st, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		err = platforms.ErrNotFound
		return platforms.Instance{}, &platforms.Error{Kind: platforms.NotFound, Err: fmt.Errorf("find %s: %w", name, err)}
	}
	if err != nil {
		return platforms.Instance{}, fail("find", name, err)
	}
	m := mark{Created: st.ModTime()}
	if _, err := readJSON(filepath.Join(dir, markFile), &m); err != nil {
		return platforms.Instance{}, fail("find", name, err)
	}
	p, err := agentOf(dir)
	if err != nil {
		return platforms.Instance{}, fail("find", name, err)
	}
	ce := platforms.Instance{
		Name: name, Job: m.Job, RunID: m.RunID, Owner: m.Owner,
		State: platforms.Stopped, Created: m.Created, Ref: dir,
	}
	if p.alive() {
		ce.State, ce.Ref = platforms.Running, fmt.Sprintf("process %d", p.PID)
	}
	return ce, nil
}

// List implements platforms.Driver. What is not named as a CE, or is not a
// directory, is not ours.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) {
	entries, err := os.ReadDir(d.cfg.StateDir) // sorted
	if err != nil {
		return nil, fail("list", d.cfg.StateDir, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() || !platforms.ValidName(e.Name()) })
	ces := make([]platforms.Instance, 0, len(entries))
	for _, e := range entries {
		ce, err := d.Find(ctx, e.Name())
		if errors.Is(err, platforms.ErrNotFound) {
			continue // destroyed just now
		}
		if err != nil {
			return nil, err
		}
		ces = append(ces, ce)
	}
	return ces, nil
}
