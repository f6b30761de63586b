package guestsim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where processes run: in a tree of files of its own that is in memory
// but for what is bound into it, seeing no other processes, and without a
// network. All its methods but kill belong to the function that it is given to.
type machine struct {
	init *exec.Cmd // the first process: with it, all end
	log  *os.File
	wine wine
}

// bind is a folder of the host that a machine has.
type bind struct {
	host, inside string
	writable     bool
}

// systemFolders are what programs of the host need.
var systemFolders = []bind{{host: "/usr", inside: "/usr"}, {host: "/etc", inside: "/etc"}, {host: "/dev", inside: "/dev", writable: true}}

// onMachine calls do in a machine, with its files for those of the host. root is
// an empty folder of the host, which any number of machines may share. The log
// gets what processes print.
//
// The machine consists of namespaces of one thread, which do runs on, and which
// ends with it. So it is gone when this process is killed, too.
func onMachine(root string, log *os.File, w wine, binds []bind, do func(m *machine) error) error {
	done := make(chan error, 1)
	go onOwnThread(func() {
		m := &machine{log: log, wine: w}
		err := m.enter(root, append(binds, systemFolders...))
		if err == nil {
			err = do(m)
		}
		m.kill()
		done <- err
	})
	return <-done
}

// onOwnThread calls do on a thread that ends with the goroutine, and is not the
// process's first, which others take for the process itself.
func onOwnThread(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return // locked: the thread ends
	}
	other := make(chan struct{})
	go func() { // while this goroutine has the first thread
		defer close(other)
		onOwnThread(do)
	}()
	<-other
	runtime.UnlockOSThread()
}

// enter moves the thread into namespaces of its own.
func (m *machine) enter(root string, binds []bind) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC); err != nil {
		return fmt.Errorf("guestsim: a machine needs root: unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("guestsim: make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	for _, dir := range []string{"proc", "tmp", "home", "old", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o777); err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
	}
	for _, link := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+link, filepath.Join(root, link)); err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
	}
	for _, b := range binds {
		inside := filepath.Join(root, b.inside)
		if err := os.MkdirAll(inside, 0o755); err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
		if err := mountBind(b.host, inside, b.writable); err != nil {
			return err
		}
	}
	// Without the host's files, no mount of another test stays in use here.
	if err := unix.PivotRoot(root, filepath.Join(root, "old")); err != nil {
		return fmt.Errorf("guestsim: pivot_root: %w", err)
	}
	if err := errors.Join(unix.Chdir("/"), unix.Unmount("/old", unix.MNT_DETACH)); err != nil {
		return fmt.Errorf("guestsim: leave the host's files: %w", err)
	}
	return m.startInit()
}

func mountBind(host, inside string, writable bool) error {
	err := unix.Mount(host, inside, "", unix.MS_BIND, "")
	if err == nil && !writable {
		err = unix.Mount("", inside, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		return fmt.Errorf("guestsim: bind %s: %w", host, err)
	}
	return nil
}

// startInit starts the first process, which also makes the machine's /proc.
func (m *machine) startInit() error {
	m.init = exec.Command("/bin/sh", "-c", "mount -t proc proc /proc && echo ready && exec sleep infinity")
	m.init.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if m.log != nil {
		m.init.Stderr = m.log
	}
	out, err := m.init.StdoutPipe()
	if err == nil {
		err = m.init.Start()
	}
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("guestsim: the machine's first process said %q: %w", line, err)
	}
	return nil
}

// kill ends all processes, and returns when there are none any more.
func (m *machine) kill() {
	if m.init != nil && m.init.Process != nil {
		m.init.Process.Kill()
		m.init.Wait()
		m.init = nil
	}
}

// environment is all that processes have of one.
func (m *machine) environment() []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=/home", "USER=root", "LOGNAME=root", "LANG=C.UTF-8", "TMPDIR=/tmp",
		"WINEPREFIX=" + prefixInside, "WINEARCH=win64", "WINEDEBUG=-all",
		// The stand-in for shutdown.exe goes before Wine's own; no programs that
		// would ask somebody at a screen.
		"WINEDLLOVERRIDES=shutdown.exe=n;mscoree=;mshtml=;winemenubuilder.exe=d;winedbg.exe=d",
	}
}

// start starts a program in the folder that Windows has for C:.
func (m *machine) start(program string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = m.environment()
	cmd.Dir = driveC
	if _, err := os.Stat(driveC); err != nil { // before there is one
		cmd.Dir = "/"
	}
	if m.log != nil {
		cmd.Stdout, cmd.Stderr = m.log, m.log
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	return cmd, nil
}

// switchOn starts Windows, with clocks that count the time since then. Its server
// is one that stays: else Wine ends everything as soon as nothing but services
// runs.
func (m *machine) switchOn() (*exec.Cmd, error) {
	var monotonic, boottime unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boottime)); err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	return m.start("/usr/bin/unshare", "--fork", "--time",
		fmt.Sprintf("--monotonic=-%d", monotonic.Sec), fmt.Sprintf("--boottime=-%d", boottime.Sec),
		"/bin/sh", "-c", `"$0" -p && exec "$1" wineboot`, m.wine.server, m.wine.loader)
}

// run runs a program to its end, and gives its exit code as Linux has it.
func (m *machine) run(ctx context.Context, program string, args ...string) (int, error) {
	cmd, err := m.start(program, args...)
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err = cmd.Wait()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("guestsim: %s: %w", strings.Join(cmd.Args, " "), context.Cause(ctx))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("guestsim: %s: %w", strings.Join(cmd.Args, " "), err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// serverRuns tells whether Wine's server is there.
func (m *machine) serverRuns() bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, _ := os.ReadFile(path) // "id (name) state ..."; empty if it has just ended
		_, rest, _ := strings.Cut(string(stat), "(")
		name, state, _ := strings.Cut(rest, ") ")
		if strings.HasPrefix(name, "wineserver") && !strings.HasPrefix(state, "Z") {
			return true
		}
	}
	return false
}

// stopWine ends all of Windows' processes, and returns when the registry has been
// written. At once means before they can do anything more.
func (m *machine) stopWine(ctx context.Context, atOnce bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("not within %v", stopTimeout))
	defer cancel()
	if atOnce {
		// In a shell: here, process ids are others.
		const killAll = `for p in /proc/[2-9]* /proc/[1-9][0-9]*; do
			read -r name < $p/comm && case $name in wineserver*) ;; *) [ $p = /proc/$$ ] || kill -9 ${p#/proc/};; esac
		done 2>/dev/null; true`
		if _, err := m.run(ctx, "/bin/sh", "-c", killAll); err != nil {
			return err
		}
	}
	for _, option := range []string{"-k", "-w"} { // which fails if it has ended already
		if _, err := m.run(ctx, m.wine.server, option); err != nil {
			return err
		}
	}
	return nil
}

// stopTimeout is how long Wine may take to write its registry.
const stopTimeout = 30 * time.Second
