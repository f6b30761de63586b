package lab

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a process in a group of its own, which ends with us.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when nothing of the group is left; err is valid then
	err    error

	mu     sync.Mutex
	reaped bool // the process id may be somebody else's
}

// spawn starts the process.
func spawn(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, exited: make(chan struct{})}
	// In a group of its own, ^C of a terminal does not reach it before its VM is
	// switched off. Pdeathsig is for when nobody is left to do that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go c.live(started)
	return c, <-started
}

// live is the process's life.
func (c *child) live(started chan<- error) {
	// Pdeathsig means the death of the thread that started the process. This one
	// ends with the goroutine.
	runtime.LockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	// As long as nobody has waited for it, its id is its own and its group's.
	for {
		err := unix.Waitid(unix.P_PID, c.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.mu.Lock()
	c.killGroup() // whom it has left behind
	c.reaped = true
	c.err = c.cmd.Wait()
	c.mu.Unlock()
	close(c.exited)
}

// kill ends the group at once, and waits until it has.
func (c *child) kill() {
	c.mu.Lock()
	if !c.reaped {
		c.killGroup()
	}
	c.mu.Unlock()
	<-c.exited
}

func (c *child) killGroup() {
	_ = unix.Kill(-c.cmd.Process.Pid, unix.SIGKILL) // it may be empty
}
