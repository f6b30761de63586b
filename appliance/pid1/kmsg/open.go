package kmsg

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// consoleLevel shows notices and what is more urgent.
const consoleLevel = levelNotice + 1

// actionConsoleLevel is SYSLOG_ACTION_CONSOLE_LEVEL of syslog(2).
const actionConsoleLevel = 8

// Open opens the kernel's log for writing.
func Open() (*os.File, error) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("kernel log: %w", err)
	}
	return f, nil
}

// Prepare makes the kernel show notices on its consoles, and take records
// however many there are. What a kernel refuses is the
// error; the other is done.
func Prepare() error {
	// printk.devkmsg= on the kernel's command line locks this one.
	limit := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	if locked, err := os.ReadFile("/proc/sys/kernel/printk_devkmsg"); err == nil && string(locked) == "on\n" {
		limit = nil
	}
	return errors.Join(setConsoleLevel(consoleLevel), limit)
}

// Silence makes the consoles show nothing any more but the kernel's emergencies.
func Silence() error { return setConsoleLevel(1) }

func setConsoleLevel(level uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_SYSLOG, actionConsoleLevel, 0, level); errno != 0 {
		return fmt.Errorf("level of the console: %w", errno)
	}
	return nil
}

// Bare makes the consoles show the lines from now on without the time, so that
// a line begins with its own words.
func Bare() error {
	return os.WriteFile("/sys/module/printk/parameters/time", []byte("N"), 0)
}
