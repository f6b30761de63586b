package fusefile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// fsType is the type of our mounts in the table of mounts.
	fsType = "fuse.imageport"
	// dirPrefix begins the name of every private directory.
	dirPrefix = "imageport-fuse-"
)

// process names a process for as long as the machine runs: its number may be
// given again, but not with the same start time.
type process struct {
	pid   int
	start uint64 // in clock ticks since the machine started
}

// source is what the table of mounts says in place of a device.
func (p process) source() string { return fmt.Sprintf("imageport:%d:%d", p.pid, p.start) }

func parseSource(s string) (process, bool) {
	words := strings.Split(s, ":")
	if len(words) != 3 || words[0] != "imageport" {
		return process{}, false
	}
	pid, err := strconv.Atoi(words[1])
	if err != nil || pid <= 0 {
		return process{}, false
	}
	start, err := strconv.ParseUint(words[2], 10, 64)
	return process{pid, start}, err == nil
}

func thisProcess() (process, error) {
	start, err := startTime(os.Getpid())
	return process{os.Getpid(), start}, err
}

// alive is true also for what cannot be told.
func (p process) alive() bool {
	start, err := startTime(p.pid)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || start == p.start
}

// startTime reads field 22 of /proc/<pid>/stat (proc_pid_stat(5)). The second
// field is a name in parentheses that may hold anything.
func startTime(pid int) (uint64, error) {
	file := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("%s: %d fields behind the name, want 20", file, len(fields))
	}
	// A process that has ended and was not waited for serves nothing.
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, os.ErrNotExist
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// mountEntry is a line of the table of mounts.
type mountEntry struct {
	dir, fsType, source string
}

// readMounts reads the table of mounts, proc_pid_mountinfo(5).
func readMounts() ([]mountEntry, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(b)), nil
}

func parseMounts(table string) []mountEntry {
	var list []mountEntry
	for line := range strings.Lines(table) {
		// Optional fields stand in the middle, up to a dash.
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 2 {
			continue
		}
		list = append(list, mountEntry{dir: unescape(l[4]), fsType: r[0], source: unescape(r[1])})
	}
	return list
}

// unescape undoes \040 and its like, which the table has for white space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// CleanStale removes from dir what killed processes have left there: mount
// points whose server does not live any more. It touches nothing of a process
// that lives, and never waits for a file system.
func CleanStale(dir string) error {
	dir, err := resolve(dir)
	if err != nil {
		return err
	}
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		if m.fsType != fsType || filepath.Dir(m.dir) != dir || !strings.HasPrefix(filepath.Base(m.dir), dirPrefix) {
			continue
		}
		owner, ours := parseSource(m.source)
		if !ours || owner.alive() {
			continue
		}
		if err := unix.Unmount(m.dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.dir, err))
			continue
		}
		errs = append(errs, os.Remove(m.dir))
	}
	return errors.Join(errs...)
}

// resolve gives a directory the name that the table of mounts has for it.
func resolve(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}
