package bootproof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"imageport/job"
)

// hardware is what makes one machine differ from another.
type hardware struct {
	file       string // path of the disk, as raw bytes
	sectorSize int    // 512 or 4096 bytes
}

const (
	memoryMiB = 1024
	diskID    = "disk"
	// Files that QEMU inherits, by their numbers there.
	qmpFD, screenFD = 3, 4
	screenPath      = "/dev/fdset/1" // QEMU's name of what it gets as screenFD
)

// arguments are QEMU's. What the machine writes to the disk and to its NVRAM
// goes to unlinked temporary files; it stops when it would switch off or reset,
// so that its screen can still be seen.
func arguments(f firmware, accel accelerator, hw hardware) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-name", "bootproof",
		"-M", "q35,smm=off", "-accel", string(accel), "-cpu", "max", "-m", strconv.Itoa(memoryMiB),
		"-display", "none", "-vga", "std", "-nic", "none", "-no-reboot", "-no-shutdown", "-serial", "stdio",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-add-fd", fmt.Sprintf("fd=%d,set=1", screenFD),
		"-drive", "if=pflash,format=raw,readonly=on,file=" + escape(f.code),
		"-drive", "if=pflash,format=raw,snapshot=on,file=" + escape(f.vars),
		// Past the page cache, which would read ahead, and hide what is read
		// twice: the reads that arrive are the machine's.
		"-drive", "id=" + diskID + ",if=none,snapshot=on,cache=none,format=raw,file=" + escape(hw.file),
	}
	// Controllers that Windows has drivers for. QEMU's ATA disks have sectors
	// of 512 bytes only.
	if hw.sectorSize == 512 {
		return append(args, "-device", "ide-hd,drive="+diskID+",bus=ide.0")
	}
	size := strconv.Itoa(hw.sectorSize)
	return append(args, "-device", "nvme,drive="+diskID+",serial=disk,logical_block_size="+size+",physical_block_size="+size)
}

// escape protects a file name inside a list of options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// machine is one that runs.
type machine struct {
	cmd        *exec.Cmd
	monitor    *monitor
	screen     *screenFile
	complaints *complaints
	exited     chan struct{} // closed when it has ended, how is in exit
	exit       error
}

// start starts QEMU, in a directory for its temporary files that is gone when
// start returns. The calling goroutine must stay locked to its thread while the
// machine runs: with the thread, the machine is killed.
func start(ctx context.Context, dir string, path string, args []string, console io.Writer) (*machine, error) {
	temp, err := os.MkdirTemp(dir, "bootproof-")
	if err != nil {
		return nil, fmt.Errorf("boot proof: %w", err)
	}
	m, err := launch(ctx, temp, path, args, console)
	if removed := os.RemoveAll(temp); removed != nil && err == nil {
		m.stop()
		err = fmt.Errorf("boot proof: %w", removed)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// launch is start with the directory for QEMU's temporary files. When it
// returns, QEMU has opened and unlinked them.
func launch(ctx context.Context, temp, path string, args []string, console io.Writer) (*machine, error) {
	screen, err := newScreenFile()
	if err != nil {
		return nil, fmt.Errorf("boot proof: file for the screen: %w", err)
	}
	conn, theirs, err := socketPair()
	if err != nil {
		screen.close()
		return nil, fmt.Errorf("boot proof: socket for QEMU: %w", err)
	}
	m := &machine{screen: screen, complaints: &complaints{}, exited: make(chan struct{})}
	m.cmd = exec.CommandContext(ctx, path, args...)
	m.cmd.Dir = temp // also for a core dump
	m.cmd.Env = append(os.Environ(), "TMPDIR="+temp, "LC_ALL=C")
	m.cmd.ExtraFiles = []*os.File{qmpFD - 3: theirs, screenFD - 3: screen.write}
	m.cmd.Stdout, m.cmd.Stderr = console, m.complaints
	// Nobody but QEMU has its output open; if somebody did, that would not
	// keep us waiting.
	m.cmd.WaitDelay = 5 * time.Second
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = m.cmd.Start()
	theirs.Close()
	if err != nil {
		screen.close()
		conn.Close()
		return nil, job.Errorf(job.ToolFailed, installRemedy, "boot proof: QEMU cannot be started: %w", err)
	}
	m.monitor = newMonitor(conn)
	go func() {
		m.exit = m.cmd.Wait()
		close(m.exited)
	}()
	select {
	case <-m.monitor.greeted:
	case <-m.exited:
	case <-time.After(startPatience):
		// It may come yet, and its end tells if it does not.
	}
	return m, nil
}

// startPatience is for the first words of QEMU, which come after 0.1 s.
const startPatience = 20 * time.Second

// stop kills the machine, if it still runs, and waits for its end.
func (m *machine) stop() {
	// An error says that it has ended.
	_ = m.cmd.Process.Kill()
	<-m.exited
	m.monitor.close()
	m.screen.close()
}

// died tells of the end of a machine that nobody has ended.
func (m *machine) died() error {
	end := m.exit
	if end == nil {
		end = errors.New("exit status 0")
	}
	return job.Errorf(job.ToolFailed, toolRemedy,
		"boot proof: QEMU ended: %w: %s", end, m.complaints)
}

// socketPair gives our end and the one that a process can inherit.
func socketPair() (net.Conn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "qmp"), os.NewFile(uintptr(pair[1]), "qmp")
	defer ours.Close() // FileConn has one of its own
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// maxComplaints bounds what is kept of QEMU's words: the first ones.
const maxComplaints = 1 << 10

// complaints is what QEMU says on its standard error.
type complaints struct {
	mu   sync.Mutex
	text []byte
}

func (c *complaints) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p[:min(len(p), maxComplaints-len(c.text))]...)
	return len(p), nil
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := strings.Join(strings.Fields(strings.ToValidUTF8(string(c.text), "")), " ")
	if said == "" {
		return "it said nothing"
	}
	return fmt.Sprintf("it said %q", said)
}
