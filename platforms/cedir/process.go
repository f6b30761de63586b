package cedir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process identifies a process for good. A process id alone does not: the
// system uses it again, at the latest after a reboot.
type Process struct {
	PID int `json:"pid"`
	// Start is the process's start time in clock ticks since boot, field 22 of
	// /proc/<pid>/stat (proc(5)).
	Start uint64 `json:"startTicks"`
	// Boot is /proc/sys/kernel/random/boot_id.
	Boot string `json:"bootId"`
}

// stat is what we need of /proc/<pid>/stat.
type stat struct {
	state   byte   // field 3
	session int    // field 6
	threads int    // field 20
	start   uint64 // field 22
}

// parseStat reads the content of /proc/<pid>/stat. The second field, the name
// of the command in parentheses, may itself contain anything.
func parseStat(b []byte) (stat, error) {
	_, rest, ok := cutLast(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return stat{}, fmt.Errorf("proc stat of %d bytes with %d fields after the command", len(b), len(f))
	}
	session, err := strconv.Atoi(f[3])
	if err != nil {
		return stat{}, fmt.Errorf("proc stat, session: %w", err)
	}
	threads, err := strconv.Atoi(f[17])
	if err != nil {
		return stat{}, fmt.Errorf("proc stat, threads: %w", err)
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("proc stat, start time: %w", err)
	}
	return stat{state: f[0][0], session: session, threads: threads, start: start}, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// live reports whether a process of that state still runs. A zombie is only
// the memory of one, but for a process whose first thread has ended before others:
// these still have its files, and the locks on them.
func (s stat) live() bool {
	switch s.state {
	case 'Z':
		return s.threads > 1
	case 'X', 'x':
		return false
	}
	return true
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// Self identifies the calling process.
func Self() (Process, error) { return Identify(os.Getpid()) }

// Identify gives the process that has the id now. A child that nobody has
// waited for keeps its id.
func Identify(pid int) (Process, error) {
	boot, err := bootID()
	if err != nil {
		return Process{}, err
	}
	st, err := readStat(pid)
	return Process{PID: pid, Start: st.start, Boot: boot}, err
}

// Alive reports whether p runs.
func (p Process) Alive() bool {
	if p.PID <= 1 { // no process, and a number that kill(2) gives other meanings
		return false
	}
	st, err := readStat(p.PID)
	if err != nil || !st.live() || st.start != p.Start {
		return false
	}
	boot, err := bootID()
	return err == nil && boot == p.Boot
}

// Kill ends p, and waits until it has ended, so that nobody takes it for one that
// goes on. It is no error if p is gone.
func (p Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	for began := time.Now(); p.Alive(); time.Sleep(time.Millisecond) {
		if elapsed := time.Since(began); elapsed > killWait {
			return stuck([]Process{p}, elapsed)
		}
	}
	return nil
}

// Signal sends sig to p and to nothing else. It is no error if p is gone.
func (p Process) Signal(sig syscall.Signal) error {
	if p.PID <= 1 {
		return nil
	}
	// The handle is a pidfd: it keeps meaning the process that had the id at
	// this moment. So when the start time fits now, the signal cannot go astray.
	h, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer h.Release()
	if !p.Alive() {
		return nil
	}
	if err := h.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// belonging gives the live processes that carry mark, a "NAME=value", in their
// environment, and those in a session that leader leads, if it lives. Both are
// inherited: the one finds what outlived the leader, the other what cleared
// its environment.
func belonging(mark string, leader Process) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	leads := leader.Alive()
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 1 || pid == os.Getpid() {
			continue
		}
		// Start time before and after: what is read in between is this process's.
		before, err := readStat(pid)
		if err != nil || !before.live() {
			continue
		}
		ours := leads && before.session == leader.PID
		if !ours {
			env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
			ours = err == nil && carries(env, mark) // unreadable: another user's, so not ours
		}
		if !ours {
			continue
		}
		if after, err := readStat(pid); err == nil && after.start == before.start {
			found = append(found, Process{PID: pid, Start: before.start, Boot: boot})
		}
	}
	return found, nil
}

// carries reports whether env, the NUL-terminated content of
// /proc/<pid>/environ, has the entry mark.
func carries(env []byte, mark string) bool {
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		if string(entry) == mark {
			return true
		}
	}
	return false
}
