package cevm

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/qmp"
)

// VM is a machine that runs, or has run.
type VM struct {
	t       testing.TB
	control *qmp.Client
	cancel  context.CancelFunc
	began   time.Time

	mu       sync.Mutex
	lines    []string
	changed  chan struct{} // closed when there is a new line
	gone     chan struct{} // closed at the end; what follows is valid then
	exit     error
	duration time.Duration
}

// Boot starts a machine, which ends with the test at the latest. The console
// goes to the test's log if the test fails.
func Boot(t testing.TB, o Options) *VM {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Minute
	}
	// Sockets have short names; the test's own folder may have a long one.
	dir, err := os.MkdirTemp("", "cevm-")
	if err != nil {
		t.Fatalf("cevm: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	args, err := o.arguments(dir)
	if err != nil {
		t.Fatalf("cevm: %v", err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.Timeout, fmt.Errorf("the machine still ran after %v", o.Timeout))
	v := &VM{t: t, cancel: cancel, began: time.Now(), changed: make(chan struct{}), gone: make(chan struct{})}
	started := make(chan error)
	go v.run(ctx, args, started)
	if err := <-started; err != nil {
		cancel()
		t.Fatalf("cevm: %v", err)
	}
	t.Cleanup(func() {
		v.Kill()
		if t.Failed() {
			t.Logf("console:\n%s", strings.Join(v.Console(), "\n"))
		}
	})
	if v.control, err = dial(ctx, filepath.Join(dir, "qmp"), v.over); err != nil {
		// What QEMU complained about says more.
		select {
		case <-v.gone:
		case <-time.After(5 * time.Second):
			v.Kill()
		}
		t.Fatalf("cevm: %v: %v", err, v.exit)
	}
	return v
}

// run is the machine's life.
func (v *VM) run(ctx context.Context, args []string, started chan<- error) {
	// The kernel sends the death signal when the thread ends that started the
	// machine, so this thread has to last.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	console, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	started <- err
	if err != nil {
		return
	}
	lines := bufio.NewReader(console)
	for {
		line, err := lines.ReadString('\n')
		if line = plain(line); line != "" {
			v.add(line)
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if err != nil {
		err = fmt.Errorf("qemu: %w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	v.exit, v.duration = err, time.Since(v.began)
	close(v.gone)
}

func (v *VM) add(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lines = append(v.lines, line)
	close(v.changed)
	v.changed = make(chan struct{})
}

// over reports whether the machine has ended.
func (v *VM) over() bool {
	select {
	case <-v.gone:
		return true
	default:
		return false
	}
}

// escapes are a terminal's; stamp is the kernel's time.
var (
	escapes = regexp.MustCompile("\x1b\\[[0-9;?=]*[A-Za-z]")
	stamp   = regexp.MustCompile(`^\[ *[0-9]+\.[0-9]+\] `)
)

func plain(line string) string {
	return strings.TrimRight(escapes.ReplaceAllString(line, ""), "\r\n")
}

// Console gives the lines until now, without escape sequences.
func (v *VM) Console() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.lines)
}

// Wait waits for a line that matches the pattern, from the first line on, and
// gives it without the kernel's time. The test fails when the machine ends
// without it.
func (v *VM) Wait(pattern string) string {
	v.t.Helper()
	want := regexp.MustCompile(pattern)
	for seen := 0; ; {
		ended := v.over() // asked first: no line comes after it
		v.mu.Lock()
		lines, changed := v.lines[seen:], v.changed
		seen = len(v.lines)
		v.mu.Unlock()
		for _, l := range lines {
			if l = stamp.ReplaceAllString(l, ""); want.MatchString(l) {
				return l
			}
		}
		if ended {
			v.t.Fatalf("the machine ended, and never said %q: %v", pattern, v.exit)
		}
		select {
		case <-changed:
		case <-v.gone:
		}
	}
}

// End is how a machine ended.
type End struct {
	Off      bool          // it switched itself off, and was not reset
	Last     string        // line of the CE's own on the console: the kernel may have the last word
	Cause    string        // that it gave on that line, if it gave up
	Duration time.Duration // of its life, from QEMU's start on
}

// End waits until the machine has ended by itself. The test fails if it does
// not, or if it was QEMU that failed.
func (v *VM) End() End {
	v.t.Helper()
	<-v.gone
	if v.exit != nil {
		v.t.Fatalf("cevm: %v", v.exit)
	}
	e := End{Off: v.control.Reason() == "guest-shutdown", Duration: v.duration}
	for _, l := range slices.Backward(v.Console()) {
		if strings.HasPrefix(stamp.ReplaceAllString(l, ""), seed.Key) {
			e.Last = l
			break
		}
	}
	e.Cause, _ = strings.CutPrefix(e.Last, seed.Failed)
	if e.Cause == e.Last {
		e.Cause = ""
	}
	return e
}

// Kill ends the machine at once, as if somebody had pulled its plug.
func (v *VM) Kill() {
	v.cancel()
	<-v.gone
}

// QMP has QEMU carry out a command, such as device_add. The test fails if QEMU
// refuses.
func (v *VM) QMP(command string, arguments map[string]any) {
	v.t.Helper()
	if err := v.control.Run(v.t.Context(), command, arguments, nil); err != nil {
		v.t.Fatalf("cevm: %v", err)
	}
}
