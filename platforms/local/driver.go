package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/outputdir"
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
	// Env are "NAME=value" entries that the agent gets. It has little else of
	// an environment: the worker's carries the connection to Temporal.
	Env []string
	// OutputDir is where output disks go. Without, there are none.
	OutputDir string
	// Guest is the program, with its arguments, that is the machine of a guest. The
	// path of the disk's file, which is raw, comes after them. As long as it runs,
	// the machine is on; when it ends, the machine has switched itself off. Without,
	// there are no guests. Everybody on the machine can read the arguments.
	Guest []string
	// Grace is how long Destroy waits between SIGTERM and SIGKILL, by default 5 s.
	Grace time.Duration
	// StartTimeout is how long Create waits for the agent to claim its CE, by
	// default 30 s.
	StartTimeout time.Duration
	// Now gives the time of creation, by default time.Now.
	Now func() time.Time
}

// logFile is what the agents print, in the CE's directory.
const logFile = "agent.log"

// Driver is the platforms.Driver of the local platform.
type Driver struct {
	cfg   Config
	store *cedir.Store
	disks *outputdir.Disks
	// guests are those of all CEs of the store.
	guests *cedir.Guests
}

var (
	_ platforms.Driver      = (*Driver)(nil)
	_ platforms.Neighbour   = (*Driver)(nil)
	_ platforms.OutputDisks = (*Driver)(nil)
)

// New gives the driver for the CEs in cfg.StateDir. Several drivers, also in
// several processes, may work on one state directory.
func New(cfg Config) (*Driver, error) {
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
	if len(cfg.Guest) > 0 {
		// It runs in another directory. One that is not there now may be later:
		// CheckGuest says so.
		if path, err := exec.LookPath(cfg.Guest[0]); err == nil {
			if path, err = filepath.Abs(path); err != nil {
				return nil, fmt.Errorf("local platform: program of guests: %w", err)
			}
			cfg.Guest = append([]string{path}, cfg.Guest[1:]...)
		}
	}
	if cfg.OutputDir != "" {
		dir, err := filepath.Abs(cfg.OutputDir)
		if err != nil {
			return nil, fmt.Errorf("local platform: directory for output disks: %w", err)
		}
		cfg.OutputDir = dir
	}
	d := &Driver{cfg: cfg}
	var err error
	d.store, err = cedir.Open(cedir.Config{
		Platform: "local", StateDir: cfg.StateDir, Grace: cfg.Grace, StartTimeout: cfg.StartTimeout, Now: cfg.Now,
		Start: d.start, Discard: outputdir.Discard, Describe: describe,
	})
	if err != nil {
		return nil, err
	}
	d.disks = &outputdir.Disks{
		Platform: "local", Store: d.store, Dir: cfg.OutputDir, Formats: []platforms.DiskFormat{platforms.Raw},
		Attach: d.attach, Detach: d.detach,
	}
	d.guests = d.newGuests()
	return d, nil
}

// describe tells what a stopped agent printed when it gave up.
func describe(dir string, _ cedir.Process, in *platforms.Instance) {
	const limit = 4 << 10
	if in.State != platforms.Stopped {
		return
	}
	if lines := cedir.Tail(filepath.Join(dir, logFile), limit); len(lines) > 0 {
		in.Fault, _ = cedir.GaveUp(lines[len(lines)-1])
	}
}

// WorkerHost implements platforms.Neighbour.
func (d *Driver) WorkerHost() string { return "127.0.0.1" }

// Check implements platforms.Driver.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	if err := d.store.Check(ctx, ce); err != nil {
		return err
	}
	_, err := exec.LookPath(d.cfg.Program)
	if err == nil {
		err = d.disks.CheckDir()
	}
	return cedir.Fail("check", ce.Name, err)
}

// Create implements platforms.Driver.
func (d *Driver) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	return d.store.Create(ctx, ce)
}

// Stop implements platforms.Driver.
func (d *Driver) Stop(ctx context.Context, name string) error { return d.store.Stop(ctx, name) }

// Destroy implements platforms.Driver.
func (d *Driver) Destroy(ctx context.Context, name string) error { return d.store.Destroy(ctx, name) }

// Find implements platforms.Driver.
func (d *Driver) Find(ctx context.Context, name string) (platforms.Instance, error) {
	return d.store.Find(ctx, name)
}

// List implements platforms.Driver.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) { return d.store.List(ctx) }
