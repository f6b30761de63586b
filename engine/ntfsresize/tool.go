package ntfsresize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"imageport/engine/fusefile"
)

// Tool is the program, and where it works. The zero value serves.
type Tool struct {
	// Path is the program's; empty means that of the PATH, or of the two
	// directories for system administration, which a PATH may lack.
	Path string
	// Dir is where private directories are made to mount volumes in; empty
	// means that for temporary files.
	Dir string
}

func (t Tool) program() (string, error) {
	if t.Path != "" {
		return t.Path, nil
	}
	var last error
	for _, name := range []string{"ntfsresize", "/usr/sbin/ntfsresize", "/sbin/ntfsresize"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		last = err
	}
	return "", fmt.Errorf("%w: %w", ErrMissing, last)
}

// show mounts the volume with the function given, runs ntfsresize on it, and
// ends the mount: when it returns nil, all has arrived.
func (t Tool) show(ctx context.Context, mount func(dir string) (*fusefile.Mounted, error), args ...string) (output string, err error) {
	program, err := t.program()
	if err != nil {
		return "", err
	}
	file, err := mount(cmp.Or(t.Dir, os.TempDir()))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrTool, err)
	}
	output, err = run(ctx, program, append(args, file.Path()))
	// The cause of an EIO says more than a tool that met one.
	if broken := file.Close(); broken != nil {
		return "", broken
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		return "", refusal(err, output, file.Path())
	}
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrTool, err)
	}
	return output, nil
}

// killPatience is how long a killed tool's output is waited for.
const killPatience = 5 * time.Second

func run(ctx context.Context, program string, args []string) (string, error) {
	var output tail
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdout = &output
	cmd.Stderr = &output
	cmd.WaitDelay = killPatience
	err := cmd.Run()
	return string(output), err
}

// tail keeps the last bytes that are written to it.
type tail []byte

// maxOutput is many times what ntfsresize says of a healthy volume, in bytes;
// of a corrupt one it can say a line for each cluster.
const maxOutput = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p[max(0, len(p)-maxOutput):]...)
	*t = (*t)[max(0, len(*t)-maxOutput):]
	return len(p), nil
}

// number is the decimal number that follows label in a line, such as 4096 in
// "Cluster size       : 4096 bytes" for "Cluster size".
func number(output, label string) (int64, error) {
	for line := range strings.Lines(output) {
		rest, ok := strings.CutPrefix(line, label)
		if !ok {
			continue
		}
		rest = strings.TrimLeft(rest, " :")
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: it says %q, want a number", ErrTool, strings.TrimSpace(line))
		}
		return n, nil
	}
	return 0, fmt.Errorf("%w: it does not say %q", ErrTool, label)
}
