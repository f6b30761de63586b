package pid1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// limits are the times after which the first process waits no longer.
type limits struct {
	start time.Duration // until the agent works
	stop  time.Duration // from SIGTERM to SIGKILL
	grace time.Duration // from the deadline, which the agent knows, to SIGTERM
	drain time.Duration // for what the agent said last; its orphans may hold the pipe
}

var theLimits = limits{start: 5 * time.Minute, stop: 10 * time.Second, grace: 15 * time.Second, drain: time.Second}

// supervisor runs the agent and waits for its end.
type supervisor struct {
	program string
	args    []string // with the program's name
	env     []string
	limits  limits
	log     *slog.Logger
	clean   func(string) string // makes a text fit for one line
	signals <-chan os.Signal    // that ask for the end

	agent   *os.Process
	reports chan report
	panics  chan string // the first line of a crash
	exit    chan unix.WaitStatus
	failure chan error // of the supervisor itself
}

// run runs the agent to its end, and gives the cause if it was not a good one.
func (s *supervisor) run() (cause string) {
	s.reports, s.panics = make(chan report, 4), make(chan string, 1)
	s.exit, s.failure = make(chan unix.WaitStatus, 1), make(chan error, 1)
	drained, err := s.start()
	if err != nil {
		return fmt.Sprintf("the agent does not start: %v", err)
	}
	state := watch{limits: s.limits, limit: time.Now().Add(s.limits.start)}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case r := <-s.reports:
			state.heard(r)
		case line := <-s.panics:
			state.crash = line
		case err := <-s.failure:
			return fmt.Sprintf("the first process failed: %v", err)
		case signal := <-s.signals:
			s.log.Info("told to end", "signal", signal)
			state.told = true
			s.end(&state)
		case <-tick.C:
			s.check(&state)
		case status := <-s.exit:
			s.drain(&state, drained)
			return state.outcome(status)
		}
	}
}

// start starts the agent. The channel is closed when it, and all who have its
// pipes, have said everything.
func (s *supervisor) start() (<-chan struct{}, error) {
	reportPipe, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	output, outputEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	s.agent, err = os.StartProcess(s.program, s.args, &os.ProcAttr{
		Env:   s.env,
		Files: []*os.File{null, outputEnd, outputEnd, reportEnd},
	})
	for _, f := range []*os.File{null, outputEnd, reportEnd} {
		_ = f.Close() // ours; the agent has its own
	}
	if err != nil {
		return nil, err
	}
	reported, said := make(chan struct{}), make(chan struct{})
	s.guarded(func() {
		defer close(reported)
		receive(reportPipe, func(r report) { s.reports <- r })
	})
	s.guarded(func() {
		defer close(said)
		s.listen(output)
	})
	s.guarded(s.bury)
	drained := make(chan struct{})
	s.guarded(func() {
		<-reported
		<-said
		close(drained)
	})
	return drained, nil
}

// guarded runs f beside the rest. A defect there must end the machine, not
// leave it running with nobody in charge.
func (s *supervisor) guarded(f func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				s.failure <- fmt.Errorf("panic: %v", p)
			}
		}()
		f()
	}()
}

// bury waits for the agent, and on the way for whatever has lost its parent:
// that is the first process's duty.
func (s *supervisor) bury() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			s.failure <- fmt.Errorf("wait for the agent: %w", err)
			return
		case pid == s.agent.Pid:
			s.exit <- status
			return
		}
	}
}

// maxSaid bounds what of the agent's own output is logged: a crash with all
// its goroutines would wash the rest out of the log.
const maxSaid = 60

// listen logs what the agent, or the Go runtime in it, writes by itself.
func (s *supervisor) listen(r io.Reader) {
	lines := bufio.NewReaderSize(r, 4<<10)
	for n := 0; ; {
		line, _, err := lines.ReadLine() // long ones in parts
		if err != nil {
			return
		}
		text := strings.TrimSpace(string(line))
		if text == "" {
			continue
		}
		if crashed(text) {
			select {
			case s.panics <- text:
			default: // there was one before
			}
		}
		if n++; n <= maxSaid {
			s.log.Error("agent: " + text)
		}
	}
}

func crashed(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "SIG")
}

// check ends the agent when its time is over.
func (s *supervisor) check(w *watch) {
	// The clock of the wall, as the deadline has it: a machine that was
	// suspended has a slow one otherwise.
	now := time.Now().Round(0)
	switch {
	case w.ended:
		if now.After(w.kill) && !w.killed {
			s.log.Warn("the agent does not end, and is killed")
			w.killed = true
			s.signal(unix.SIGKILL)
		}
	case !w.limit.IsZero() && time.Now().After(w.limit):
		w.late = fmt.Sprintf("the agent has not begun its work in %v", s.limits.start)
		s.end(w)
	case !w.deadline.IsZero() && now.After(w.deadline.Add(s.limits.grace)):
		w.late = deadlinePassed(w.deadline)
		s.end(w)
	}
}

// end asks the agent to end, once.
func (s *supervisor) end(w *watch) {
	if w.ended {
		return
	}
	w.ended, w.kill = true, time.Now().Round(0).Add(s.limits.stop)
	s.signal(unix.SIGTERM)
}

func (s *supervisor) signal(n unix.Signal) {
	if err := s.agent.Signal(n); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.log.Warn("signal to the agent", "signal", n, "error", err)
	}
}

// drain takes what the agent said before it ended.
func (s *supervisor) drain(w *watch, drained <-chan struct{}) {
	late := time.NewTimer(s.limits.drain)
	defer late.Stop()
	for open := true; open; {
		select {
		case r := <-s.reports:
			w.heard(r)
		case line := <-s.panics:
			w.crash = line
		case <-drained:
			open = false
		case <-late.C:
			open = false
		}
	}
	// All is in the channels now.
	for {
		select {
		case r := <-s.reports:
			w.heard(r)
		case line := <-s.panics:
			w.crash = line
		default:
			w.cause = s.clean(w.cause)
			w.crash = s.clean(w.crash)
			return
		}
	}
}
