package atomicfile_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"imageport/wallet/atomicfile"
)

func holds(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		t.Errorf("%s holds %q, %v; want %q", path, b, err, want)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%s: %v, %v", path, st, err)
	}
}

func TestWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	var steps []string
	w := atomicfile.Writer{Step: func(s string) { steps = append(steps, s) }}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(w.Replace(path, []byte("one")))
	holds(t, path, "one")
	if len(steps) != 7 || steps[len(steps)-1] != "sync directory" {
		t.Errorf("%q", steps)
	}
	do(os.Chmod(path, 0o644))
	do(os.WriteFile(path+".new", []byte("what a killed writer has left, and longer"), 0o666))
	do(w.Replace(path, []byte("two")))
	holds(t, path, "two")
	if err := w.Create(path, []byte("three")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a file: %v", err)
	}
	holds(t, path, "two")
	do(os.Symlink("file", filepath.Join(dir, "link")))
	do(w.Replace(filepath.Join(dir, "link"), []byte("four")))
	holds(t, path, "four")
	do(w.Create(filepath.Join(dir, "key"), nil))
	holds(t, filepath.Join(dir, "key"), "")
	do(w.Remove(path))
	if err := w.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second Remove: %v", err)
	}
	if err := w.Replace(filepath.Join(dir, "none", "file"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

// What root changes stays its owner's.
func TestOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can change owners: not tested")
		return
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := (atomicfile.Writer{}).Create(path, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := (atomicfile.Writer{}).Replace(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := st.Sys().(*syscall.Stat_t); !ok || s.Uid != 65534 || s.Gid != 65534 {
		t.Errorf("the owner is %+v", st.Sys())
	}
}

// A full disk leaves the old file.
func TestNoSpace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := (atomicfile.Writer{}).Create(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := was
	limit.Cur = 1000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	err := atomicfile.Writer{}.Replace(path, make([]byte, 2000))
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("got %v", err)
	}
	holds(t, path, "old")
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := atomicfile.Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := atomicfile.Lock(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, unlock)
	again, err := atomicfile.Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := atomicfile.Lock(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}
