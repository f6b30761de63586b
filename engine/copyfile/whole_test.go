package copyfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imageport/engine/copyfile"
)

// loop makes a loop device of so many bytes over a file.
func loop(t *testing.T, path string, size int) string {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xEE}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return device
}

// A file and a device are opened as large as they are, and a device by one only.
func TestOpenWhole(t *testing.T) {
	const size = 2 << 20
	dir := t.TempDir()
	file, behind := filepath.Join(dir, "file"), filepath.Join(dir, "behind")
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	device := loop(t, behind, size)
	for _, path := range []string{file, device} {
		f, err := copyfile.OpenWhole(path)
		if err != nil {
			t.Fatal(err)
		}
		if f.Size() != size {
			t.Errorf("%s: %d bytes", path, f.Size())
		}
		want := bytes.Repeat([]byte{7}, 4096)
		if _, err := f.WriteAt(want, size-4096); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(want, size-512); !errors.Is(err, copyfile.ErrOutOfRange) {
			t.Errorf("%s: a write behind its end: %v", path, err)
		}
		if err := errors.Join(f.ZeroRange(0, 64<<10), f.Sync(), f.DropCache()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		got := make([]byte, 4096)
		if _, err := f.ReadAt(got, size-4096); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: it reads otherwise (%v)", path, err)
		}
		if _, err := f.ReadAt(got, 4096); err != nil || !bytes.Equal(got, make([]byte, 4096)) {
			t.Errorf("%s: what was zeroed is not zeros (%v)", path, err)
		}
		if path == device {
			if _, err := copyfile.OpenWhole(device); !errors.Is(err, copyfile.ErrInUse) {
				t.Errorf("opened twice: %v", err)
			}
			uncached(t, f, behind)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{pipe: copyfile.ErrKind, "/dev/null": copyfile.ErrKind, filepath.Join(dir, "no"): fs.ErrNotExist, dir: syscall.EISDIR} {
		if _, err := copyfile.OpenWhole(path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// uncached checks that a device reads anew after DropCache: what is behind it is
// changed without its knowledge.
func uncached(t *testing.T, f *copyfile.File, behind string) {
	t.Helper()
	got := make([]byte, 4096)
	if _, err := f.ReadAt(got, 1<<20); err != nil {
		t.Fatal(err)
	}
	below, err := os.OpenFile(behind, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer below.Close()
	want := bytes.Repeat([]byte{9}, 4096)
	if _, err := below.WriteAt(want, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(below.Sync(), f.DropCache()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(got, 1<<20); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the device still gives what it had in memory (%v)", err)
	}
}
