package cedir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

// EnvMark is the variable, inherited by all that a CE's process starts, whose
// value is the CE's directory.
const EnvMark = "IMAGEPORT_CE_DIR"

// Config says how the CEs of one platform differ from those of another.
type Config struct {
	// Platform is the platform's name, for messages.
	Platform string
	// StateDir holds one directory per CE. It is made if need be.
	StateDir string
	// Grace is how long Destroy waits between SIGTERM and SIGKILL, by default 5 s.
	Grace time.Duration
	// StartTimeout is how long the process of a CE may take to come up, and a
	// dying one to give up its lock, by default 30 s.
	StartTimeout time.Duration
	// Now gives the time of creation, by default time.Now.
	Now func() time.Time

	// Start starts the process of the CE in dir, with EnvMark in its
	// environment, and returns when it is recorded and up. It is called under
	// the lock of the directory, when the recorded process does not live; it
	// asks Vacant whether another one does.
	Start func(ctx context.Context, dir string, s seed.Seed) error
	// Adopt says that the process inherits its lock and is recorded by who
	// starts it. If that one dies in between, Vacant records the process.
	Adopt bool
	// Quit asks the process to end in the way that it likes best. It may be
	// nil, and it may fail: signals follow.
	Quit func(ctx context.Context, dir string)
	// Discard removes what the CE has outside of dir. It may be nil. The
	// process is gone then.
	Discard func(dir string) error
	// Describe adds to what is known of a CE whose last process was p.
	Describe func(dir string, p Process, in *platforms.Instance)
}

// Store is the state directory of one platform.
type Store struct {
	Config
	// Step is told after each step of a verb. Tests die there.
	Step func(string)
}

// Open gives the store of the CEs in cfg.StateDir. Several stores, also in
// several processes, may work on one state directory.
func Open(cfg Config) (*Store, error) {
	if cfg.StateDir == "" {
		return nil, platforms.Errorf(platforms.BadRequest, "%s platform: no state directory", cfg.Platform)
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
		return nil, &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("%s platform: state directory: %w", cfg.Platform, err)}
	}
	return &Store{Config: cfg, Step: func(string) {}}, nil
}

// Dir is the directory of the CE of that name.
func (s *Store) Dir(name string) string { return filepath.Join(s.StateDir, name) }

// Check refuses a Spec that is not valid, and a state directory that CEs
// cannot be made in, or that somebody else may write to.
func (s *Store) Check(ctx context.Context, ce platforms.Spec) error {
	if err := errors.Join(ctx.Err(), ce.Validate()); err != nil {
		return Fail("check", ce.Name, err)
	}
	st, err := os.Stat(s.StateDir)
	if err != nil {
		return Fail("check", ce.Name, err)
	}
	// Whoever can write here can make the worker run and kill processes.
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return platforms.Errorf(platforms.Denied,
			"check %s: the state directory %s (mode %04o) must belong to the worker's user, and only it may write there",
			ce.Name, s.StateDir, st.Mode().Perm())
	}
	return Fail("check", ce.Name, Writable(s.StateDir))
}

// Writable reports why entries cannot be made in dir.
func Writable(dir string) error {
	const write, search = 2, 1 // access(2)
	if err := syscall.Access(dir, write|search); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// Create does what platforms.Driver asks for.
func (s *Store) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	if err := ce.Validate(); err != nil {
		return platforms.Instance{}, Fail("create", ce.Name, err)
	}
	for {
		in, done, err := s.create(ctx, ce)
		if err != nil {
			return platforms.Instance{}, Fail("create", ce.Name, err)
		}
		if done {
			return in, nil
		}
	}
}

// create does it. If it finds a CE that is half destroyed, it only destroys
// the other half, and is not done; nor is it if a process dies under its eyes.
func (s *Store) create(ctx context.Context, ce platforms.Spec) (in platforms.Instance, done bool, err error) {
	dir := s.Dir(ce.Name)
	release, err := lockDir(ctx, dir, true)
	if err != nil {
		return in, false, err
	}
	defer release()
	s.Step("made the directory")
	if doomed(dir) {
		// Its process may run still, but it may have been told to end.
		return in, false, s.destroy(ctx, dir)
	}
	if err := s.mark(dir, ce); err != nil {
		return in, false, err
	}
	p, err := Recorded(dir)
	if err != nil {
		return in, false, err
	}
	if err := NoGuest(dir); err != nil {
		return in, false, err
	}
	ran := p.Alive()
	if !ran {
		if err := s.makeLock(dir); err != nil {
			return in, false, err
		}
		if err := s.Start(ctx, dir, ce.Seed); err != nil {
			return in, false, err
		}
	}
	in, err = s.Find(ctx, ce.Name)
	// One that was about to die when it was found is started again.
	return in, err == nil && !(ran && in.State == platforms.Stopped), err
}

// doomed reports whether the CE in dir is to be removed.
func doomed(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, doomFile))
	return err == nil
}

// mark makes the CE the job's, unless it is another one's.
func (s *Store) mark(dir string, ce platforms.Spec) error {
	path := filepath.Join(dir, markFile)
	var m mark
	marked, err := ReadJSON(path, &m)
	switch {
	case err != nil:
		return err
	case !marked:
		err := ReplaceJSON(path, mark{Job: ce.Job, RunID: ce.RunID, Owner: ce.Owner, Created: s.Now().UTC()})
		s.Step("wrote " + markFile)
		return err
	case m.Job != ce.Job || m.Owner != ce.Owner:
		return platforms.Errorf(platforms.Foreign, "the name belongs to job %q of resource location %q", m.Job, m.Owner)
	}
	return nil
}

// makeLock makes the file that a process of the CE holds for its life.
func (s *Store) makeLock(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	s.Step("made " + LockFile)
	return lock.Close()
}

// WriteSeed writes the seed for the process that is to be started.
func (s *Store) WriteSeed(dir string, told seed.Seed) error {
	b, err := told.Encode()
	if err == nil {
		err = ReplaceFile(filepath.Join(dir, SeedFile), b)
	}
	s.Step("wrote " + SeedFile)
	return err
}

// Hold locks the directory of a CE that is there, and is not to be removed, so
// that its driver can change it. It gives the directory, and the function that
// unlocks it. If there is no such CE, the error wraps ErrNotFound.
func (s *Store) Hold(ctx context.Context, name string) (dir string, release func(), err error) {
	if !seed.ValidName(name) {
		return "", nil, platforms.Errorf(platforms.BadRequest, "%q is no name for a CE", name)
	}
	dir = s.Dir(name)
	release, err = lockDir(ctx, dir, false)
	if err == nil && doomed(dir) {
		release()
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return dir, release, err
}

// Find does what platforms.Driver asks for.
func (s *Store) Find(ctx context.Context, name string) (platforms.Instance, error) {
	if !seed.ValidName(name) {
		return platforms.Instance{}, platforms.Errorf(platforms.BadRequest, "find: %q is no name for a CE", name)
	}
	if err := ctx.Err(); err != nil {
		return platforms.Instance{}, Fail("find", name, err)
	}
	dir := s.Dir(name)
	st, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		err = platforms.ErrNotFound
		return platforms.Instance{}, &platforms.Error{Kind: platforms.NotFound, Err: fmt.Errorf("find %s: %w", name, err)}
	}
	if err != nil {
		return platforms.Instance{}, Fail("find", name, err)
	}
	m := mark{Created: st.ModTime()}
	if _, err := ReadJSON(filepath.Join(dir, markFile), &m); err != nil {
		return platforms.Instance{}, Fail("find", name, err)
	}
	p, err := Recorded(dir)
	if err != nil {
		return platforms.Instance{}, Fail("find", name, err)
	}
	ce := platforms.Instance{
		Name: name, Job: m.Job, RunID: m.RunID, Owner: m.Owner,
		State: platforms.Stopped, Created: m.Created, Ref: dir,
	}
	if p.Alive() {
		ce.State, ce.Ref = platforms.Running, fmt.Sprintf("process %d", p.PID)
	}
	s.Describe(dir, p, &ce)
	return ce, nil
}

// List does what platforms.Driver asks for. What is not named as a CE, or is
// not a directory, is not ours.
func (s *Store) List(ctx context.Context) ([]platforms.Instance, error) {
	entries, err := os.ReadDir(s.StateDir) // sorted
	if err != nil {
		return nil, Fail("list", s.StateDir, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() || !seed.ValidName(e.Name()) })
	ces := make([]platforms.Instance, 0, len(entries))
	for _, e := range entries {
		ce, err := s.Find(ctx, e.Name())
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
