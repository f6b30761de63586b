package pid1

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"imageport/appliance/pid1/kmsg"
	"imageport/job/seed"
)

// AgentArgument is the argument that makes the program the agent.
const AgentArgument = "agent"

// syncLimit bounds the wait for what is not on disk yet. A disk that is gone
// would keep it for ever.
const syncLimit = 10 * time.Second

// Main is the first process of the machine. It does not return.
func Main(version string) {
	w, failed := prepare()
	var cause string
	func() {
		defer func() {
			if p := recover(); p != nil {
				cause = fmt.Sprintf("the first process crashed: %v", p)
			}
		}()
		cause = run(w, failed, version)
	}()
	lastWords(w, cause)
	powerOff()
}

// prepare makes the machine one in which a process can run. The error is for
// the log, which it may have to do without.
func prepare() (*kmsg.Writer, error) {
	failed := errors.Join(mountAll(mounts), link(modprobe))
	f, err := kmsg.Open()
	if err != nil {
		// The console that the kernel gave us, in the place of its log.
		return kmsg.NewWriter(os.Stderr), errors.Join(failed, err)
	}
	return kmsg.NewWriter(f), errors.Join(failed, kmsg.Prepare())
}

func run(w *kmsg.Writer, failed error, version string) (cause string) {
	log := slog.New(kmsg.NewHandler(w, slog.LevelInfo))
	log.Info("starting", "version", version, "after", uptime().Round(10*time.Millisecond))
	if failed != nil {
		log.Warn("not all is as it should be", "error", failed)
	}
	// Control-alt-delete on a console asks for the end, and does not reset.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		log.Warn("control-alt-delete", "error", err)
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGTERM, unix.SIGINT)
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TMPDIR=/tmp"}
	if limit, err := memoryLimit("/proc/meminfo"); err != nil {
		log.Warn("memory", "error", err)
	} else {
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%dMiB", limit>>20))
	}
	s := &supervisor{
		program: "/proc/self/exe",
		args:    []string{"imageport-ce", AgentArgument},
		env:     env,
		limits:  theLimits,
		log:     log,
		clean:   w.Clean,
		signals: ends,
	}
	return s.run()
}

// lastWords is the last line on every console: how it went.
func lastWords(w *kmsg.Writer, cause string) {
	// The line begins with its own words if that works, and else with the time.
	_ = kmsg.Bare()
	if cause == "" {
		_ = w.Line(slog.LevelInfo, "imageport-ce: done")
	} else {
		// Split, it would not be the last line any more.
		_ = w.Line(slog.LevelError, seed.Failed+shorten(cause, maxCause))
	}
	// Slow consoles need some time. Then let no driver that shuts its device
	// down have the last word.
	time.Sleep(100 * time.Millisecond)
	_ = kmsg.Silence()
}

// maxCause keeps the last words within one record of the log.
const maxCause = 800

func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n] + "..."
}

// powerOff ends the machine and whatever still runs on it.
func powerOff() {
	_ = unix.Kill(-1, unix.SIGKILL) // all but us; nobody left is no error
	synced := make(chan struct{})
	go func() {
		unix.Sync()
		close(synced)
	}()
	select {
	case <-synced:
	case <-time.After(syncLimit):
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// A machine that cannot be switched off is better reset than left: it
	// finds its deadline passed one day.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.Exit(1) // which ends in a panic of the kernel
}

// PowerOff is the kernel's helper: it asks the first process to end the machine
// in order.
func PowerOff() error {
	if err := unix.Kill(1, unix.SIGTERM); err != nil {
		return fmt.Errorf("ask the first process: %w", err)
	}
	return nil
}

// uptime is the time since the kernel started.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
