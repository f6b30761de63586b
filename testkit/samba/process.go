package samba

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// run starts smbd and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	log, err := os.OpenFile(s.file("smbd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("smbd", "--foreground", "--no-process-group", "--debug-stdout",
		"--configfile", s.file("smb.conf"))
	cmd.Stdout, cmd.Stderr = log, log
	// A process group of its own, for Stop, and for smbd itself: when its
	// standard input is a pipe and that ends, it kills its group. The kernel
	// ends the pipe when we die, of whatever cause. (A parent-death signal would
	// reach only the first process, and would also be sent when the thread that
	// started it ends.)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.leash, s.exited = cmd, leash, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.exited)
	}()

	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err == nil {
			conn.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("smbd ended at once: %s", s.lastLog())
		case <-ctx.Done():
			s.kill()
			return fmt.Errorf("smbd does not answer on port %d: %w: %s", s.Port, ctx.Err(), s.lastLog())
		case <-time.After(10 * time.Millisecond):
		}
		if err == nil {
			return nil
		}
	}
}

// PID is the process of the server, whose children serve the clients.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Down ends the server without a farewell, as a crash does, until Up.
func (s *Server) Down() { s.kill() }

// Up starts the server again after Down: the same port, user and shares.
func (s *Server) Up(ctx context.Context) error {
	if s.cmd != nil {
		return errors.New("start samba: it runs already")
	}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("start samba: %w", err)
	}
	return nil
}

// KillConnections kills the processes that serve the clients now, one for each
// connection, and reports how many those were. The server goes on.
func (s *Server) KillConnections(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, "smbstatus", "--configfile", s.file("smb.conf"), "--processes").Output()
	if err != nil {
		return 0, fmt.Errorf("smbstatus: %w", err)
	}
	killed := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil {
			continue // a heading
		}
		// Only what is of our group is ours, whatever smbstatus says.
		if group, err := syscall.Getpgid(pid); err != nil || group != s.cmd.Process.Pid {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return killed, fmt.Errorf("kill smbd %d: %w", pid, err)
		}
		killed++
	}
	return killed, nil
}

// kill ends smbd and its children, one for each connection and two more.
func (s *Server) kill() {
	if s.cmd == nil {
		return
	}
	group := -s.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGKILL)
	_ = s.leash.Close()
	<-s.exited
	// The children are not ours to wait for, and nobody may bury them soon.
	for range 100 {
		if !alive(s.cmd.Process.Pid) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.cmd = nil
}

// alive reports whether a process group has a process that is not a zombie
// (proc_pid_stat(5): the state is the third field, the group the fifth).
func alive(group int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		stat, err := os.ReadFile(f)
		if err != nil {
			continue // gone
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if field := strings.Fields(rest); len(field) > 2 && field[2] == strconv.Itoa(group) && field[0] != "Z" {
			return true
		}
	}
	return false
}
