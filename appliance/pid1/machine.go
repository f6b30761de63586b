package pid1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mount is one file system of the kernel's.
type mount struct {
	fs, at string
	flags  uintptr
	data   string
}

const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mounts are what the machine needs to run.
var mounts = []mount{
	{"proc", "/proc", safe, ""},
	{"sysfs", "/sys", safe, ""},
	{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
	{"tmpfs", "/run", safe, "mode=0755,size=16m"},
	{"tmpfs", "/tmp", safe, "mode=1777,size=256m"},
}

// mountAll mounts what it can; the error joins those of the others.
func mountAll(mounts []mount) error {
	var failed []error
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			failed = append(failed, err)
		}
		// The kernel may have mounted /dev already.
		if err := unix.Mount(m.fs, m.at, m.fs, m.flags, m.data); err != nil && !errors.Is(err, unix.EBUSY) {
			failed = append(failed, fmt.Errorf("mount %s: %w", m.at, err))
		}
	}
	return errors.Join(failed...)
}

// modprobe is what the kernel calls when it wants a module. It is there only
// from PID 1 on: nothing could be loaded before.
const modprobe = "/sbin/modprobe"

// link makes name another one of this program.
func link(name string) error {
	if err := os.Symlink("/init", name); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// memoryLimit is how much of the machine's memory the agent should make do
// with (GOMEMLIMIT): three quarters. The rest is for the kernel, for tools and
// for the files of the appliance, which live in memory.
func memoryLimit(meminfo string) (bytes int64, err error) {
	text, err := os.ReadFile(meminfo)
	if err != nil {
		return 0, err
	}
	total, ok := field(text, "MemTotal:")
	if !ok {
		return 0, fmt.Errorf("%s: no MemTotal", meminfo)
	}
	return total / 4 * 3, nil
}

// field reads a line of /proc/meminfo, which is in KiB.
func field(meminfo []byte, name string) (sizeBytes int64, ok bool) {
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && words[0] == name && words[2] == "kB" {
			n, err := strconv.ParseInt(words[1], 10, 64)
			return n << 10, err == nil && n >= 0 && n < 1<<50
		}
	}
	return 0, false
}

// built is when this program was built, as far as it knows: the time of its
// commit, or else that of its file, which the builder of the appliance sets.
func built() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	info, err := os.Stat("/proc/self/exe")
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// secureBoot tells whether the firmware checked who signed the kernel.
func secureBoot() string {
	const vars = "/sys/firmware/efi/efivars"
	if _, err := os.Stat(vars); err != nil {
		return "no UEFI"
	}
	if err := unix.Mount("efivarfs", vars, "efivarfs", safe|unix.MS_RDONLY, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return "unknown: " + err.Error()
	}
	// Four bytes of attributes, and one that is 1 or 0 (UEFI 2.10 section 3.3).
	b, err := os.ReadFile(vars + "/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	switch {
	case err != nil || len(b) != 5:
		return "unknown"
	case b[4] == 1:
		return "on"
	}
	return "off"
}
