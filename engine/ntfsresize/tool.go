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

	"imageport/engine/fusefile"
	"imageport/engine/program"
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
	path, err := program.Find("ntfsresize", "/usr/sbin", "/sbin")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return path, nil
}

// show mounts the volume with the function given, runs ntfsresize on it, and
// ends the mount: when it returns nil, all has arrived.
func (t Tool) show(ctx context.Context, mount func(dir string) (*fusefile.Mounted, error), args ...string) (output string, err error) {
	path, err := t.program()
	if err != nil {
		return "", err
	}
	file, err := mount(cmp.Or(t.Dir, os.TempDir()))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrTool, err)
	}
	output, err = run(ctx, path, append(args, file.Path()))
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

// maxOutput is many times what ntfsresize says of a healthy volume, in bytes;
// of a corrupt one it can say a line for each cluster.
const maxOutput = 64 << 10

func run(ctx context.Context, path string, args []string) (string, error) {
	output := program.Tail{Max: maxOutput}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = program.Environment()
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = program.KillPatience
	err := cmd.Run()
	return output.String(), err
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
