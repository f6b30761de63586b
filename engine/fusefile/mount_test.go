package fusefile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/engine/fusefile"
)

// memory is a File that can be told to fail.
type memory struct {
	mu       sync.Mutex
	data     []byte
	readErr  error
	writeErr error
	blocked  chan struct{} // if set, a read tells so here...
	release  chan struct{} // ...and waits for this
}

func newMemory(size int, seed uint64) *memory {
	m := &memory{data: make([]byte, size)}
	rand.NewChaCha8([32]byte{byte(seed)}).Read(m.data)
	return m
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.blocked != nil {
		select {
		case m.blocked <- struct{}{}:
		default:
		}
		<-m.release
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readErr != nil {
		return 0, m.readErr
	}
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr != nil {
		return 0, m.writeErr
	}
	return copy(m.data[off:], p), nil
}

func (m *memory) bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.data)
}

// sh runs a shell command and gives what it says.
func sh(t *testing.T, command string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", command, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustSh(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := sh(t, command, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// wantNothing fails if anything is mounted or left in dir.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(table), dir) {
		t.Errorf("something is still mounted in %s", dir)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left in %s: %v", dir, left)
	}
}

func TestToolReadsAndWrites(t *testing.T) {
	// Sizes that do and do not end on a page and on a request.
	for _, size := range []int{0, 1, 4096, 1<<20 + 512, 5<<20 + 3} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			dir := t.TempDir()
			file := newMemory(size, 1)
			want := file.bytes()
			m, err := fusefile.Mount(t.Context(), dir, "disk", file, int64(size))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if filepath.Base(m.Path()) != "disk" {
				t.Errorf("Path() = %s", m.Path())
			}
			copied := filepath.Join(t.TempDir(), "copy")
			mustSh(t, `cat "$1" > "$2"`, m.Path(), copied)
			got, err := os.ReadFile(copied)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("read %d bytes, %v; want the %d of the file", len(got), err, size)
			}
			rng := rand.New(rand.NewPCG(2, uint64(size)))
			for range 5 {
				if size == 0 {
					break
				}
				off := rng.IntN(size)
				piece := make([]byte, min(size-off, 1+rng.IntN(2<<20)))
				for i := range piece {
					piece[i] = byte(rng.Uint32())
				}
				copy(want[off:], piece)
				source := filepath.Join(t.TempDir(), "piece")
				if err := os.WriteFile(source, piece, 0o600); err != nil {
					t.Fatal(err)
				}
				mustSh(t, `dd if="$1" of="$2" seek="$3" bs=65536 oflag=seek_bytes conv=notrunc`, source, m.Path(), strconv.Itoa(off))
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(file.bytes(), want) {
				t.Error("the writes have not all arrived")
			}
			if err := m.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			wantNothing(t, dir)
		})
	}
}

func TestSyncBeforeClose(t *testing.T) {
	dir := t.TempDir()
	file := newMemory(1<<20, 1)
	m, err := fusefile.Mount(t.Context(), dir, "disk", file, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	// The tool keeps the file open: only its fsync brings the bytes over.
	cmd := exec.Command("sh", "-c", `exec 3<>"$1"; printf synced >&3; sync "$1"; echo done; read line`, "sh", m.Path())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 5)); err != nil {
		t.Error(err)
	}
	if got := file.bytes()[:6]; string(got) != "synced" {
		t.Errorf("after fsync the file begins with %q", got)
	}
	if err := errors.Join(stdin.Close(), m.Err()); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // read fails at the end of its input
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	file := newMemory(100000, 1)
	want := file.bytes()
	m, err := fusefile.MountReadOnly(t.Context(), dir, "disk", file, 100000)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, attempt := range []string{`echo x > "$1"`, `dd if=/dev/zero of="$1" bs=1 count=1 conv=notrunc`, `truncate -s 5 "$1"`, `rm "$1"`, `touch "$1.2"`, `touch "$1"`} {
		if out, err := sh(t, attempt, m.Path()); err == nil || !strings.Contains(out, "Read-only file system") {
			t.Errorf("%s: %v, %s", attempt, err, out)
		}
	}
	mustSh(t, `cat "$1" >/dev/null`, m.Path())
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(file.bytes(), want) {
		t.Error("written nevertheless")
	}
	wantNothing(t, dir)
}

// TestOnlyTheFile: a writable mount is still no place to create, remove or
// resize anything.
func TestOnlyTheFile(t *testing.T) {
	file := newMemory(8192, 1)
	m, err := fusefile.Mount(t.Context(), t.TempDir(), "disk", file, 8192)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, attempt := range []string{`truncate -s 5 "$1"`, `truncate -s 10000 "$1"`, `touch "$1.2"`, `rm "$1"`, `mv "$1" "$1.2"`, `mkdir "$1.d"`} {
		if out, err := sh(t, attempt, m.Path()); err == nil {
			t.Errorf("%s succeeded: %s", attempt, out)
		}
	}
	mustSh(t, `touch "$1" && test "$(stat -c %s "$1")" = 8192 && test "$(ls "$(dirname "$1")")" = disk`, m.Path())
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestErrorsReachToolAndCaller(t *testing.T) {
	cause := errors.New("the share is gone")
	for _, c := range []struct {
		name string
		file *memory
		size int64
		tool string
		says string
		want error
	}{
		{"read", &memory{data: make([]byte, 8192), readErr: cause}, 8192, `cat "$1"`, "Input/output error", cause},
		{"file is shorter", &memory{data: make([]byte, 5000)}, 1 << 20, `cat "$1" >/dev/null`, "Input/output error", io.ErrUnexpectedEOF},
		{"write, synced", &memory{data: make([]byte, 8192), writeErr: cause}, 8192, `dd if=/dev/zero of="$1" bs=4096 count=1 conv=notrunc,fsync`, "Input/output error", cause},
		{"write, not synced", &memory{data: make([]byte, 8192), writeErr: cause}, 8192, `dd if=/dev/zero of="$1" bs=4096 count=1 conv=notrunc`, "Input/output error", cause},
		{"beyond the end", &memory{data: make([]byte, 8192)}, 8192, `dd if=/dev/zero of="$1" bs=4096 seek=2 count=1 conv=notrunc,fsync`, "dd:", fusefile.ErrOutOfRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m, err := fusefile.Mount(t.Context(), dir, "disk", c.file, c.size)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if out, err := sh(t, c.tool, m.Path()); err == nil || !strings.Contains(out, c.says) {
				t.Errorf("the tool: %v, %s", err, out)
			}
			if err := m.Err(); !errors.Is(err, c.want) {
				t.Errorf("Err() = %v", err)
			}
			if err := m.Close(); !errors.Is(err, c.want) {
				t.Errorf("Close() = %v", err)
			}
			wantNothing(t, dir)
		})
	}
}

func TestContextEnds(t *testing.T) {
	dir := t.TempDir()
	file := newMemory(1<<20, 1)
	file.blocked, file.release = make(chan struct{}, 1), make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	m, err := fusefile.Mount(ctx, dir, "disk", file, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	tool := exec.Command("cat", m.Path())
	if err := tool.Start(); err != nil {
		t.Fatal(err)
	}
	<-file.blocked // in the middle of a read that does not end
	cause := errors.New("cancelled by the test")
	cancel(cause)
	if err := tool.Wait(); err == nil {
		t.Error("the tool has succeeded")
	}
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("Close has not waited for the operation under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(file.release)
	if err := <-closed; !errors.Is(err, cause) {
		t.Errorf("Close() = %v", err)
	}
	wantNothing(t, dir)
	if _, err := fusefile.Mount(ctx, dir, "disk", file, 1); !errors.Is(err, cause) {
		t.Errorf("Mount in an ended context: %v", err)
	}
	wantNothing(t, dir)
}

func TestCloseTakesItAway(t *testing.T) {
	dir := t.TempDir()
	m, err := fusefile.Mount(t.Context(), dir, "disk", newMemory(4096, 1), 4096)
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("sh", "-c", `exec 3<>"$1"; printf x >&3; echo open; read line; cat <&3`, "sh", m.Path())
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); !errors.Is(err, fusefile.ErrBusy) {
		t.Errorf("Close() = %v", err)
	}
	wantNothing(t, dir)
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Error(err)
	}
	if err := holder.Wait(); err == nil {
		t.Error("the file could still be read")
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			file := newMemory(300000, uint64(i))
			m, err := fusefile.Mount(t.Context(), dir, "disk", file, 300000)
			if err != nil {
				t.Error(err)
				return
			}
			if out, err := sh(t, `dd if=/dev/zero of="$1" bs=100000 count=3 conv=notrunc && cmp -n 300000 /dev/zero "$1"`, m.Path()); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(file.bytes(), make([]byte, 300000)) {
				t.Error("not all writes have arrived")
			}
		})
	}
	all.Wait()
	wantNothing(t, dir)
}

// TestNotInherited: a subprocess that had the descriptor would keep the mount
// alive, without anybody who answers, when we are killed.
func TestNotInherited(t *testing.T) {
	m, err := fusefile.Mount(t.Context(), t.TempDir(), "disk", newMemory(10, 1), 10)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if out := mustSh(t, "ls -l /proc/self/fd"); strings.Contains(out, "/dev/fuse") {
		t.Errorf("a subprocess has inherited the mount:\n%s", out)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", ".", "..", "a/b"} {
		if _, err := fusefile.Mount(t.Context(), dir, name, newMemory(1, 1), 1); !errors.Is(err, fusefile.ErrMount) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := fusefile.Mount(t.Context(), dir, "disk", newMemory(1, 1), -1); !errors.Is(err, fusefile.ErrMount) {
		t.Errorf("negative size: %v", err)
	}
	if _, err := fusefile.Mount(t.Context(), filepath.Join(dir, "none"), "disk", newMemory(1, 1), 1); !errors.Is(err, fusefile.ErrMount) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
	wantNothing(t, dir)
}
