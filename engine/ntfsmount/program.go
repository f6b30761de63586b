package ntfsmount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"imageport/engine/program"
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
	path, err := program.Find("ntfs-3g", "/usr/bin", "/bin")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return path, nil
}

func (t Tool) dir() string { return cmp.Or(t.Dir, os.TempDir()) }

// options of the mount. With norecover, ntfs-3g leaves a journal that is in use
// alone, and remove_hiberfile is never among them. Names are those that Windows
// can use, and reading leaves no trace.
const options = "windows_names,norecover,no_detach,big_writes,noatime"

// running is ntfs-3g at work. It stays in the foreground: only its end says that
// everything has been written.
type running struct {
	*program.Running
	output program.Tail
}

// maxOutput is many times what ntfs-3g says, in bytes.
const maxOutput = 16 << 10

// start runs ntfs-3g, which ends with this process at the latest: on the signal it
// unmounts.
func start(path, file, dir string) (*running, error) {
	r := &running{output: program.Tail{Max: maxOutput}}
	cmd := exec.Command(path, file, dir, "-o", options)
	cmd.Env = program.Environment()
	cmd.Stdout, cmd.Stderr = &r.output, &r.output
	cmd.WaitDelay = program.KillPatience
	var err error
	r.Running, err = program.Start(cmd, unix.SIGTERM)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTool, err)
	}
	return r, nil
}

// appeared waits until a file system is mounted on dir, which lies on the file
// system dev, or until ntfs-3g has ended.
func (r *running) appeared(ctx context.Context, dir string, dev uint64) (bool, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		var stat unix.Stat_t
		if err := unix.Stat(dir, &stat); err == nil && stat.Dev != dev {
			return true, nil
		}
		select {
		case <-r.Ended():
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// kill ends ntfs-3g, whatever it is doing.
func (r *running) kill() {
	r.Signal(unix.SIGKILL)
	_ = r.Wait() // that it was killed
}
