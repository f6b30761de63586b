package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"imageport/job/seed"
	"imageport/platforms/cedir"
)

const (
	// claimPoll is how often start looks for the agent's claim.
	claimPoll = 5 * time.Millisecond
	// claimSettle is how long start waits for another agent's claim after its
	// own child has left the CE to that one.
	claimSettle = 2 * time.Second
)

// start runs an agent and waits until one has claimed the CE: this one, or one
// that was started before a crash and came up in the meantime.
func (d *Driver) start(ctx context.Context, dir string, s seed.Seed) error {
	if err := d.store.WriteSeed(dir, s); err != nil {
		return err
	}
	lock, vacant, err := d.store.Vacant(ctx, dir)
	if err != nil || !vacant {
		return err
	}
	// It is the agent that takes it. One that finds it taken in between ends,
	// but then the one that is started next takes its place.
	cedir.Unlock(lock)
	// The log of the earlier agent is for people; the new one starts empty, so
	// that what it says is of this agent.
	path := filepath.Join(dir, logFile)
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(append([]string{}, d.cfg.Args...), filepath.Join(dir, cedir.SeedFile))
	cmd := exec.Command(d.cfg.Program, args...) // not CommandContext: the agent outlives the call
	cmd.Env = append(append(environment(), d.cfg.Env...), cedir.EnvMark+"="+dir)
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: what stops the worker, such as ^C, is not for the agent.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // reaps the agent, whenever it ends
	d.store.Step("started the agent")

	poll := time.NewTicker(claimPoll)
	defer poll.Stop()
	timeout := time.NewTimer(d.store.StartTimeout)
	defer timeout.Stop()
	var childEnded error
	for {
		p, err := cedir.Recorded(dir)
		if err != nil {
			cmd.Process.Kill()
			return err
		}
		if p.Alive() {
			d.store.Step("the agent is up")
			return nil
		}
		select {
		case <-poll.C:
		case err := <-exited:
			exited = nil
			childEnded = fmt.Errorf("the agent ended at once (%s)%s", outcome(err), lastLine(dir))
			if err != nil {
				return childEnded
			}
			timeout.Reset(min(claimSettle, d.store.StartTimeout))
		case <-timeout.C:
			if childEnded != nil {
				return childEnded
			}
			cmd.Process.Kill()
			return fmt.Errorf("the agent did not claim its Compositing Engine in %v%s", d.store.StartTimeout, lastLine(dir))
		case <-ctx.Done():
			cmd.Process.Kill()
			return ctx.Err()
		}
	}
}

// environment is what an agent has of the worker's environment: what programs
// need to run at all. The worker's secrets are in the rest.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func outcome(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lastLine gives the last line that the agent printed.
func lastLine(dir string) string {
	if line := cedir.LastLine(filepath.Join(dir, logFile)); line != "" {
		return ": " + line
	}
	return ""
}
