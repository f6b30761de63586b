// Command init is the agent of the appliance's tests: as PID 1 it loads every
// kernel module, starts every program, tells both on the console, and powers
// the machine off.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		os.Exit(1) // the kernel runs modprobe before there is a PID 1
	}
	fmt.Println("TEST begin")
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			fmt.Println("TEST failed: mount", m.at, err)
		}
	}
	for _, name := range []string{"/proc/cmdline", "/etc/imageport-release", "/sys/kernel/security/lockdown"} {
		if strings.HasPrefix(name, "/sys/kernel/security") {
			_ = unix.Mount("securityfs", "/sys/kernel/security", "securityfs", 0, "")
		}
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Println("TEST failed:", err)
		}
		fmt.Printf("TEST %s: %s\n", name, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " "))
	}
	modules()
	for _, program := range [][]string{{"/usr/sbin/ntfsresize", "--version"}, {"/usr/bin/ntfs-3g", "--version"}} {
		out, err := exec.Command(program[0], program[1:]...).CombinedOutput()
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		fmt.Printf("TEST program %s: %v: %s\n", program[0], err, first)
	}
	fmt.Println("TEST end")
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// modules loads the modules of the index in its order. One whose hardware is
// not there refuses with ENODEV, and so those that depend on it cannot be
// loaded.
func modules() {
	index, err := os.ReadFile("/lib/modules/index")
	if err != nil {
		fmt.Println("TEST failed:", err)
	}
	state := map[string]bool{} // by module: whether it is loaded
	loaded := 0
	for line := range strings.Lines(string(index)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			fmt.Printf("TEST failed: index line %q\n", line)
			continue
		}
		name, possible := fields[0], true
		for needed := range strings.SplitSeq(fields[1], ",") {
			is, known := state[needed]
			if needed != "" && !known {
				if _, err := os.Stat("/lib/modules/" + needed + ".ko"); err == nil {
					fmt.Printf("TEST failed: %s precedes %s, which it depends on\n", name, needed)
				}
				continue // it is part of the kernel
			}
			possible = possible && (is || needed == "")
		}
		if state[name] = false; !possible {
			continue
		}
		f, err := os.Open("/lib/modules/" + name + ".ko")
		if err != nil {
			fmt.Println("TEST failed:", err)
			continue
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		switch {
		case err == nil || errors.Is(err, unix.EEXIST):
			state[name] = true
			loaded++
		case !errors.Is(err, unix.ENODEV):
			fmt.Printf("TEST failed: load %s: %v\n", name, err)
		}
	}
	fmt.Printf("TEST modules: %d of %d loaded\n", loaded, len(state))
}
