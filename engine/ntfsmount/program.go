package ntfsmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Tool is the program, and where it works. The zero value serves.
type Tool struct {
	// Path is the program's; empty means that of the PATH, or of the directory
	// for programs, which a PATH may lack.
	Path string
	// Dir is where private directories are made to mount in; empty means that for
	// temporary files.
	Dir string
}

func (t Tool) program() (string, error) {
	if t.Path != "" {
		return t.Path, nil
	}
	var last error
	for _, name := range []string{"ntfs-3g", "/usr/bin/ntfs-3g", "/bin/ntfs-3g"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		last = err
	}
	return "", fmt.Errorf("%w: %w", ErrMissing, last)
}

// options of the mount. With norecover, ntfs-3g leaves a journal that is in use
// alone, and remove_hiberfile is never among them. Names are those that Windows
// can use, and reading leaves no trace.
const options = "windows_names,norecover,no_detach,big_writes,noatime"

// running is ntfs-3g at work. It stays in the foreground: only its end says that
// everything has been written.
type running struct {
	process *os.Process
	ended   chan struct{} // closed when it has ended...
	err     error         // ...with this
	output  tail
}

// start runs ntfs-3g, which ends with this process at the latest.
func start(program, path, dir string) (*running, error) {
	r := &running{ended: make(chan struct{})}
	cmd := exec.Command(program, path, dir, "-o", options)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = &r.output, &r.output
	cmd.WaitDelay = killPatience
	// On this signal it unmounts. The kernel sends it when the thread ends that
	// has started the process: one has to stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		r.process = cmd.Process
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			close(r.ended)
		}
	}()
	err := <-started
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTool, err)
	}
	return r, nil
}

// killPatience is how long a killed program's output is waited for.
const killPatience = 5 * time.Second

// appeared waits until a file system is mounted on dir, which lies on the file
// system dev, or until ntfs-3g has ended.
func (r *running) appeared(ctx context.Context, dir string, dev uint64) (bool, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		var stat unix.Stat_t
		if err := unix.Stat(dir, &stat); err == nil && stat.Dev != dev {
			return true, nil
		}
		select {
		case <-r.ended:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// kill ends ntfs-3g, whatever it is doing.
func (r *running) kill() {
	// The error would be that it has ended.
	_ = r.process.Kill()
	<-r.ended
}

// tail keeps the last bytes that are written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

// maxOutput is many times what ntfs-3g says, in bytes.
const maxOutput = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p[max(0, len(p)-maxOutput):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxOutput):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
