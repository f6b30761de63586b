package ntfsmount_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/engine/ntfsmount"
)

// childDir and childDisk make this test binary a process that mounts there and
// writes until it is killed.
const childDir, childDisk = "NTFSMOUNT_TEST_DIR", "NTFSMOUNT_TEST_DISK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println(child(dir, os.Getenv(childDisk)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// slow is a disk whose operations are mostly under way.
type slow struct{ *os.File }

func (s slow) ReadAt(b []byte, off int64) (int, error) {
	time.Sleep(3 * time.Millisecond)
	return s.File.ReadAt(b, off)
}

func (s slow) WriteAt(b []byte, off int64) (int, error) {
	time.Sleep(3 * time.Millisecond)
	return s.File.WriteAt(b, off)
}

func child(dir, path string) error {
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	m, err := ntfsmount.Mount(context.Background(), ntfsmount.Tool{Dir: dir}, slow{disk}, offset, size)
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	for i := 0; ; i++ {
		err := m.Do(func(root *os.Root) error {
			f, err := root.Create(fmt.Sprintf("file%d", i%8))
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Write(make([]byte, 300_000)); err != nil {
				return err
			}
			return f.Sync()
		})
		if err != nil {
			return err
		}
	}
}

func startChild(t *testing.T, dir string, disk *os.File) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), childDir+"="+dir, childDisk+"="+disk.Name())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "mounted" {
		t.Fatalf("the child says %q", lines.Text())
	}
	return c
}

// TestKilled kills processes in the middle of their work on a volume, again and
// again: each must come to its end, and leave nothing that cannot be removed.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	living := mount(t, dir, newDisk(t, nil))
	for i := range 8 {
		c := startChild(t, dir, newDisk(t, nil))
		time.Sleep(time.Duration(40+11*i) * time.Millisecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = c.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("a process that was killed does not end")
		}
	}
	if err := ntfsmount.CleanStale(dir); err != nil {
		t.Error(err)
	}
	// What lives is untouched.
	if err := living.Do(func(root *os.Root) error { return root.WriteFile("f", []byte("f"), 0o600) }); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v; want the two directories of the one that lives", left, err)
	}
	if err := living.Close(); err != nil {
		t.Error(err)
	}
	wantNothing(t, dir)
	if err := ntfsmount.CleanStale(dir); err != nil {
		t.Errorf("with nothing to clean: %v", err)
	}
}

// In a folder that everybody may write to, others can make anything that is called
// as ours: it is left alone, and leads nowhere.
func TestCleanStaleOfOthers(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "volume"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	place := func(name string) string { return filepath.Join(dir, "imageport-ntfs-"+name) }
	if err := errors.Join(
		os.Symlink(elsewhere, place("link")), unix.Mkfifo(place("pipe"), 0o600), os.WriteFile(place("file"), nil, 0o600),
		os.Mkdir(place("foreign"), 0o700), os.Chown(place("foreign"), 12345, 12345),
	); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(place("ours"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ntfsmount.CleanStale(dir); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"link", "pipe", "file", "foreign"} {
		if _, err := os.Lstat(place(name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(place("ours")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed process has left is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "volume")); err != nil {
		t.Error(err)
	}
}
