package copyfile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"imageport/engine/copyfile"
	"imageport/engine/disk/copier"
)

var (
	_ copier.Target     = (*copyfile.File)(nil)
	_ copier.ZeroRanger = (*copyfile.File)(nil)
)

type memDisk struct{ *bytes.Reader }

func (memDisk) SectorSize() int { return 512 }

// content is 8 MiB with data in some places only.
func content() []byte {
	b := make([]byte, 8<<20+512)
	rng := rand.NewChaCha8([32]byte{1})
	for _, at := range []int{0, 3 << 20, 3<<20 + 200<<10, len(b) - 512} {
		rng.Read(b[at : at+512])
	}
	return b
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestCopySparse copies to a new file, and then over a file full of junk.
func TestCopySparse(t *testing.T) {
	want := content()
	size := int64(len(want))
	path := filepath.Join(t.TempDir(), "disk.raw")
	copyTo := func(f *copyfile.File, zero bool) {
		t.Helper()
		if _, err := copier.Copy(context.Background(), f, memDisk{bytes.NewReader(want)}, copier.Options{TargetIsZero: zero}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the file differs from the disk (%v)", err)
		}
		if n := allocated(t, path); n > 1<<20 {
			t.Errorf("%d bytes are allocated, expected a sparse file", n)
		}
	}
	f, err := copyfile.Create(path, size)
	if err != nil {
		t.Fatal(err)
	}
	copyTo(f, true)

	if err := os.WriteFile(path, bytes.Repeat([]byte{0xEE}, len(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = copyfile.Open(path, size); err != nil {
		t.Fatal(err)
	}
	copyTo(f, false)
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		open func() (*copyfile.File, error)
		want error
	}{
		"create over a file":   {func() (*copyfile.File, error) { return copyfile.Create(path, 4096) }, fs.ErrExist},
		"create in no folder":  {func() (*copyfile.File, error) { return copyfile.Create(filepath.Join(dir, "no", "x"), 1) }, fs.ErrNotExist},
		"negative size":        {func() (*copyfile.File, error) { return copyfile.Create(filepath.Join(dir, "new"), -1) }, syscall.EINVAL},
		"open nothing":         {func() (*copyfile.File, error) { return copyfile.Open(filepath.Join(dir, "no"), 1) }, fs.ErrNotExist},
		"file too small":       {func() (*copyfile.File, error) { return copyfile.Open(path, 8192) }, copyfile.ErrSize},
		"file too big":         {func() (*copyfile.File, error) { return copyfile.Open(path, 512) }, copyfile.ErrSize},
		"named pipe":           {func() (*copyfile.File, error) { return copyfile.Open(pipe, 0) }, copyfile.ErrKind},
		"character device":     {func() (*copyfile.File, error) { return copyfile.Open("/dev/null", 0) }, copyfile.ErrKind},
		"directory for a file": {func() (*copyfile.File, error) { return copyfile.Open(dir, 0) }, syscall.EISDIR},
	} {
		f, err := test.open()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, expected %v", name, err, test.want)
		}
		if f != nil {
			t.Errorf("%s: a file in spite of the error", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that could not be sized stayed behind: %v", err)
	}

	f, err := copyfile.Open(path, 4096)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{-1, 4095, 1 << 40} {
		if n, err := f.WriteAt([]byte{1, 2}, at); n != 0 || !errors.Is(err, copyfile.ErrOutOfRange) {
			t.Errorf("WriteAt(%d) = %d, %v", at, n, err)
		}
		if err := f.ZeroRange(at, 2); !errors.Is(err, copyfile.ErrOutOfRange) {
			t.Errorf("ZeroRange(%d) = %v", at, err)
		}
	}
	if f.Size() != 4096 {
		t.Errorf("Size = %d", f.Size())
	}
	if n, err := f.ReadAt(make([]byte, 2), 4095); n != 1 || err != io.EOF {
		t.Errorf("ReadAt at the end = %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
