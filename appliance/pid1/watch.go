package pid1

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// watch is what the first process knows of the agent.
type watch struct {
	limits   limits
	limit    time.Time // until the agent works; zero when it does
	deadline time.Time // of the seed; zero until it is known
	ended    bool      // it was asked to end
	kill     time.Time // and then is killed
	killed   bool

	told  bool   // somebody asked for the end
	late  string // its time was over
	cause string // it gave up
	crash string // it crashed
}

func (w *watch) heard(r report) {
	if !r.Deadline.IsZero() {
		w.deadline = r.Deadline
	}
	if r.Working {
		w.limit = time.Time{}
	}
	if r.Cause != "" {
		w.cause = r.Cause
	}
}

// outcome is the cause of the machine's end, or nothing for a good one.
func (w *watch) outcome(status unix.WaitStatus) string {
	switch {
	case w.late != "":
		return w.late
	case w.told:
		return ""
	case w.cause != "":
		return w.cause
	case w.crash != "":
		return "the agent crashed: " + w.crash
	case status.Signaled() && status.Signal() == unix.SIGKILL:
		return "the agent was killed: the machine has too little memory"
	case status.Signaled():
		return fmt.Sprintf("the agent was ended by signal %d, %s", int(status.Signal()), status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Sprintf("the agent ended with status %d", status.ExitStatus())
	}
	return ""
}

func deadlinePassed(d time.Time) string {
	return fmt.Sprintf("the deadline %s has passed", d.UTC().Format(time.RFC3339))
}
