package peers

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Main reads the flags, to which it adds one, runs a benchmark until it ends or is
// interrupted, and exits. The benchmark is given a temporary directory, whose name
// must be short where Unix sockets go into it.
func Main(run func(ctx context.Context, dir string) error) {
	parent := flag.String("dir", "", "where the files go (default: the directory for temporary files)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := within(*parent, func(dir string) error { return run(ctx, dir) })
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func within(parent string, run func(dir string) error) error {
	dir, err := os.MkdirTemp(parent, "imageport-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return run(dir)
}

// Tool runs a program, whose words are the error if it fails.
func Tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// cpuTime is what this process and the children that it has waited for used.
func cpuTime() time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil { // it has no reason to fail
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}

// PeakMemory is the most memory in bytes that this process has had resident so
// far: VmHWM of proc_pid_status(5). Unlike ru_maxrss it does not begin with
// that of the parent, of which the process was forked.
func PeakMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmHWM")
}
