package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"

	"imageport/platforms"
)

const (
	// claimPoll is how often start looks for the agent's claim.
	claimPoll = 5 * time.Millisecond
	// claimSettle is how long start waits for another agent's claim after its
	// own child has left the CE to that one.
	claimSettle = 2 * time.Second
	// exitPoll is the first pause before destroy looks again whether the
	// processes are gone. The pauses grow with the time that it takes.
	exitPoll = 20 * time.Millisecond
)

// start runs an agent and waits until one has claimed the CE: this one, or one
// that was started before a crash and came up in the meantime.
func (d *Driver) start(ctx context.Context, dir string) error {
	if vacant, err := d.vacant(ctx, dir); err != nil || !vacant {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	printed, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	args := append(append([]string{}, d.cfg.Args...), filepath.Join(dir, seedFile))
	cmd := exec.Command(d.cfg.Program, args...) // not CommandContext: the agent outlives the call
	cmd.Env = append(append(os.Environ(), d.cfg.Env...), envMark+"="+dir)
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: what stops the worker, such as ^C, is not for the agent.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // reaps the agent, whenever it ends
	d.step("started the agent")

	poll := time.NewTicker(claimPoll)
	defer poll.Stop()
	timeout := time.NewTimer(d.cfg.StartTimeout)
	defer timeout.Stop()
	var childEnded error
	for {
		p, err := agentOf(dir)
		if err != nil {
			cmd.Process.Kill()
			return err
		}
		if p.alive() {
			d.step("the agent is up")
			return nil
		}
		select {
		case <-poll.C:
		case err := <-exited:
			exited = nil
			childEnded = fmt.Errorf("the agent ended at once (%s)%s", outcome(err), lastLine(dir, printed))
			if err != nil {
				return childEnded
			}
			timeout.Reset(min(claimSettle, d.cfg.StartTimeout))
		case <-timeout.C:
			if childEnded != nil {
				return childEnded
			}
			cmd.Process.Kill()
			return fmt.Errorf("the agent did not claim its Compositing Engine in %v%s", d.cfg.StartTimeout, lastLine(dir, printed))
		case <-ctx.Done():
			cmd.Process.Kill()
			return ctx.Err()
		}
	}
}

// vacant waits until no agent holds the CE, and gives true, or until one has
// claimed it, and gives false. A dead agent may hold it for a moment longer:
// its main thread is a zombie before the others have ended, and closed its files.
func (d *Driver) vacant(ctx context.Context, dir string) (bool, error) {
	path := filepath.Join(dir, lockFile)
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	// The lock is given up at once. An agent that finds it taken in between
	// ends, but then the one that start runs next takes its place.
	defer unlock(fd)
	for began := time.Now(); ; {
		if free, err := tryLock(fd, path); free || err != nil {
			return free, err
		}
		if p, err := agentOf(dir); err != nil || p.alive() {
			return false, err
		}
		if elapsed := time.Since(began); elapsed > d.cfg.StartTimeout {
			return false, stuck(nil, elapsed)
		}
		if err := sleep(ctx, claimPoll); err != nil {
			return false, err
		}
	}
}

func outcome(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lastLine gives the last line that the agents printed after offset, cut to
// what fits into a message.
func lastLine(dir string, offset int64) string {
	const maxBytes = 300
	f, err := os.Open(filepath.Join(dir, logFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size <= offset {
		return ""
	}
	b := make([]byte, min(maxBytes, size-offset))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return ""
	}
	text := strings.TrimSpace(strings.ToValidUTF8(string(b), ""))
	text = text[strings.LastIndexByte(text, '\n')+1:]
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return ""
	}
	return ": " + text
}

// destroy ends all processes of the CE and removes its directory, under the
// lock of the directory.
func (d *Driver) destroy(ctx context.Context, dir string) error {
	if err := replaceFile(filepath.Join(dir, doomFile), nil); err != nil {
		return err
	}
	d.step("wrote " + doomFile)
	// The agent's lock is what makes "all gone" last: with it, no late agent
	// can come up any more.
	path := filepath.Join(dir, lockFile)
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unlock(fd)

	began := time.Now()
	asked := map[process]bool{} // those that have got SIGTERM
	for {
		left, err := d.processes(dir, asked)
		if err != nil {
			return err
		}
		elapsed := time.Since(began)
		if len(left) == 0 {
			free, err := tryLock(fd, path)
			if err != nil {
				return err
			}
			if free {
				d.step("the processes are gone")
				return removeDir(dir, d.step)
			}
		}
		if elapsed > d.cfg.Grace+killWait {
			return stuck(left, elapsed)
		}
		for _, p := range left {
			sig := syscall.SIGTERM
			if asked[p] {
				if elapsed < d.cfg.Grace {
					continue
				}
				sig = syscall.SIGKILL
			}
			if err := p.signal(sig); err != nil {
				return err
			}
			asked[p] = true
		}
		d.step("signalled")
		if err := sleep(ctx, max(exitPoll, min(elapsed/8, 250*time.Millisecond))); err != nil {
			return err
		}
	}
}

func stuck(left []process, elapsed time.Duration) error {
	if len(left) == 0 {
		return platforms.Errorf(platforms.Busy, "an agent that cannot be seen from here holds the lock after %v", elapsed.Round(time.Millisecond))
	}
	return platforms.Errorf(platforms.Busy, "process %d does not end after %v", left[0].PID, elapsed.Round(time.Millisecond))
}

// processes gives the live processes of the CE: its agent, what belongs to it,
// and those of known.
func (d *Driver) processes(dir string, known map[process]bool) ([]process, error) {
	agent, err := agentOf(dir)
	if err != nil {
		return nil, err
	}
	found, err := belonging(envMark+"="+dir, agent)
	if err != nil {
		return nil, err
	}
	all := map[process]bool{agent: true}
	for _, p := range found {
		all[p] = true
	}
	for p := range known {
		all[p] = true
	}
	var live []process
	for p := range all {
		if p.alive() {
			live = append(live, p)
		}
	}
	return live, nil
}
