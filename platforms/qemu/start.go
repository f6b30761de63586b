package qemu

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
)

const (
	// upPoll is how often start looks whether the monitor answers.
	upPoll = 5 * time.Millisecond
	// lookAfter is how often the worker that started a machine cuts its console.
	lookAfter = 10 * time.Second
	// quitPatience is how long QEMU may take to answer before it gets signals.
	quitPatience = 2 * time.Second
)

// start starts the machine in dir, and waits until QEMU has set it up. A
// machine that a creator started before it was killed is waited for instead.
func (d *Driver) start(ctx context.Context, dir string, s seed.Seed) error {
	accel, err := d.accelerator(ctx)
	if err != nil {
		return err
	}
	args, err := d.cfg.arguments(filepath.Base(dir), accelArguments[accel])
	if err != nil {
		return err
	}
	lock, vacant, err := d.store.Vacant(ctx, dir)
	if err != nil {
		return err
	}
	if !vacant {
		return d.waitUp(ctx, dir, nil)
	}
	exited, err := d.launch(dir, lock, args, s)
	if err != nil {
		return err
	}
	p, err := cedir.Recorded(dir)
	if err == nil {
		err = d.waitUp(ctx, dir, exited)
	}
	if err != nil {
		return errors.Join(err, p.Kill())
	}
	d.store.Step("the machine is up")
	return nil
}

// launch starts QEMU, which holds lock from then on, and records it. What it
// gives tells how QEMU ended.
func (d *Driver) launch(dir string, lock int, args []string, s seed.Seed) (exited <-chan error, err error) {
	// Closed, not unlocked: the lock is of the open file, which is QEMU's too.
	// As long as it is not, closing unlocks it.
	held := os.NewFile(uintptr(lock), cedir.LockFile)
	defer held.Close()
	if err := d.prepare(dir, s); err != nil {
		return nil, err
	}
	words, err := os.OpenFile(filepath.Join(dir, wordsFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer words.Close()
	cmd := exec.Command(d.cfg.Program, args...) // not CommandContext: the machine outlives the call
	cmd.Dir = dir
	cmd.Env = append(environment(dir), cedir.EnvMark+"="+dir)
	cmd.Stdout, cmd.Stderr = words, words
	cmd.ExtraFiles = []*os.File{held}
	// A session of its own: what stops the worker, such as ^C, is not for the machine.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d.store.Step("started QEMU")
	p, err := cedir.Identify(cmd.Process.Pid)
	if err == nil {
		err = cedir.Record(dir, p)
	}
	ended := make(chan error, 1)
	go d.lookAfter(dir, cmd, ended)
	if err != nil {
		// It is our child, and has not been waited for: the id is still its own.
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	d.store.Step("wrote " + cedir.ProcessFile)
	return ended, nil
}

// prepare makes what QEMU needs to start.
func (d *Driver) prepare(dir string, s seed.Seed) error {
	if err := d.store.WriteSeed(dir, s); err != nil {
		return err
	}
	if d.cfg.Firmware == uefi {
		vars, err := os.ReadFile(d.cfg.FirmwareVars)
		if err != nil {
			return err
		}
		if err := cedir.ReplaceFile(filepath.Join(dir, varsFile), vars); err != nil {
			return err
		}
	}
	// The console of the earlier life is for people; the new one starts empty,
	// so that what it says is of this life.
	err := os.Rename(filepath.Join(dir, consoleFile), filepath.Join(dir, earlierFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(filepath.Join(dir, socketFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	console, err := os.OpenFile(filepath.Join(dir, consoleFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	d.store.Step("prepared the files")
	return console.Close()
}

// environment is QEMU's: what programs need to run at all. The worker's
// secrets are in the rest. Temporary files go to dir, if that is not empty.
func environment(dir string) []string {
	env := []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "HOME", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if dir != "" {
		env = append(env, "TMPDIR="+dir)
	}
	return env
}

// lookAfter cuts the console of a machine that this worker started, until the
// machine ends, and reaps it.
func (d *Driver) lookAfter(dir string, cmd *exec.Cmd, ended chan<- error) {
	done := make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(done)
	}()
	tick := time.NewTicker(lookAfter)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.cut(dir)
		case <-done:
			return
		}
	}
}

// waitUp waits until the machine in dir runs. The end of QEMU is known from
// exited, if this worker started it.
func (d *Driver) waitUp(ctx context.Context, dir string, exited <-chan error) error {
	up, cancel := context.WithTimeoutCause(ctx, d.cfg.StartTimeout,
		platforms.Errorf(platforms.Busy, "QEMU has not set up the machine after %v", d.cfg.StartTimeout))
	defer cancel()
	for {
		status, err := status(up, dir)
		if err == nil && status == "running" {
			return nil
		}
		select {
		case end := <-exited:
			if end == nil && spoke(dir) {
				return nil // it ran, and has switched itself off before we looked
			}
			return ended(filepath.Join(dir, wordsFile), end)
		default:
		}
		if p, err := cedir.Recorded(dir); err != nil {
			return err
		} else if exited == nil && !p.Alive() {
			return ended(filepath.Join(dir, wordsFile), errors.New("it was not started by this worker"))
		}
		if cedir.Sleep(up, upPoll) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return context.Cause(up)
		}
	}
}

// spoke reports whether the machine in dir has printed anything in this life.
func spoke(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, consoleFile))
	return err == nil && st.Size() > 0
}

// status asks the machine in dir how it is.
func status(ctx context.Context, dir string) (string, error) {
	m, err := dial(ctx, dir)
	if err != nil {
		return "", err
	}
	defer m.close()
	return m.status(ctx)
}

// status asks the machine how it is.
func (m *monitor) status(ctx context.Context) (string, error) {
	var reply struct {
		Status string `json:"status"`
	}
	err := m.run(ctx, "query-status", nil, &reply)
	return reply.Status, err
}

// ended says why a machine did not come up. What its QEMU printed is in the file
// words.
func ended(words string, end error) error {
	if end == nil {
		end = errors.New("exit status 0")
	}
	said := cedir.LastLine(words)
	kind := platforms.Internal
	switch {
	case strings.Contains(said, "Cannot allocate memory"):
		kind = platforms.Full
	case strings.Contains(said, "Permission denied"), strings.Contains(said, "Operation not permitted"):
		kind = platforms.Denied
	case strings.Contains(said, "No such file or directory"):
		kind = platforms.NotFound
	case said == "":
		said = "it said nothing"
	}
	return platforms.Errorf(kind, "QEMU ended before the machine ran (%w): %s", end, said)
}

// quit asks QEMU to end. Nothing in the machine needs to be asked: what is to
// last was detached before.
func quit(ctx context.Context, dir string) {
	ctx, cancel := context.WithTimeout(ctx, quitPatience)
	defer cancel()
	m, err := dial(ctx, dir)
	if err != nil {
		return // signals do it then
	}
	defer m.close()
	// QEMU may be gone before it has answered.
	_ = m.run(ctx, "quit", nil, nil)
}
