package ntfsmount_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/engine/ntfsmount"
)

func mount(t testing.TB, dir string, d ntfsmount.File) *ntfsmount.Mounted {
	t.Helper()
	m, err := ntfsmount.Mount(t.Context(), ntfsmount.Tool{Dir: dir}, d, offset, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// O:SYG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA), put down by hand.
const protectedDirectory = "0100049048000000540000000000000014000000" +
	"0200340002000000" +
	"00031400ff011f00010100000000000512000000" +
	"00031800ff011f0001020000000000052000000020020000" +
	"010100000000000512000000" + "010100000000000512000000"

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	disk := newDisk(t, nil)
	m := mount(t, dir, disk)
	big := bytes.Repeat([]byte("imageport"), 300_000)
	err := m.Do(func(root *os.Root) error {
		return errors.Join(root.Mkdir("Private", 0o700), ntfsmount.Protect(filepath.Join(m.Dir(), "Private"), true),
			root.WriteFile("Private/big.bin", big, 0o600), ntfsmount.Protect(filepath.Join(m.Dir(), "Private", "big.bin"), false),
			root.WriteFile("plain.txt", []byte("plain"), 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Do(func(root *os.Root) error { return root.WriteFile("a:b?", nil, 0o600) }); err == nil {
		t.Error("a name that Windows cannot use was accepted")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if err := m.Do(func(*os.Root) error { return nil }); !errors.Is(err, ntfsmount.ErrClosed) {
		t.Errorf("on a closed one: %v", err)
	}
	wantNothing(t, dir)
	checkClean(t, disk)
	f, err := reader(t, disk).Open(`\private\BIG.BIN`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.ReadAll(int64(len(big))); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes, %v", len(got), err)
	}

	// The descriptors are on the disk, in $Secure.
	want, err := hex.DecodeString(protectedDirectory)
	if err != nil || len(want) != 96 || !bytes.Contains(content(t, disk), want) {
		t.Error("the descriptor of the directory is not on the disk")
	}
	m = mount(t, dir, disk)
	for name, flags := range map[string]byte{"Private": 3, "Private/big.bin": 0} {
		got, err := ntfsmount.ACL(filepath.Join(m.Dir(), name))
		want[29], want[49] = flags, flags
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: % x, %v", name, got, err)
		}
	}
	everybody, err := ntfsmount.ACL(filepath.Join(m.Dir(), "plain.txt"))
	if err != nil || bytes.Equal(everybody, want) {
		t.Errorf("what is not protected: % x, %v", everybody, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	disk := newDisk(t, nil)
	m := mount(t, dir, disk)
	err := m.Do(func(root *os.Root) error {
		return root.WriteFile("filler.bin", make([]byte, size), 0o600)
	})
	if !ntfsmount.NoSpace(err) {
		t.Errorf("got %v", err)
	}
	if err := m.Do(func(root *os.Root) error { return root.Remove("filler.bin") }); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	wantNothing(t, dir)
	checkClean(t, disk)
}

func TestRefusals(t *testing.T) {
	hiberfil := func(signature string) func(string) {
		return func(root string) {
			b := append([]byte(signature), make([]byte, 8188)...)
			if err := os.WriteFile(filepath.Join(root, "hiberfil.sys"), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	log := func(page []byte) *os.File {
		d := newDisk(t, nil)
		patchLog(t, d, page)
		return d
	}
	garbage := newDisk(t, nil)
	if _, err := garbage.WriteAt(make([]byte, mib), offset); err != nil {
		t.Fatal(err)
	}
	plain := newDisk(t, nil)
	corrupt := newDisk(t, nil)
	f, err := reader(t, corrupt).Open(`\$MFT`)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := corrupt.WriteAt([]byte("BAAD"), offset+extents[0].VolumeOffset); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho what nobody expects >&2\nexit 21\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		disk *os.File
		tool ntfsmount.Tool
		want []error
		says string
	}{
		{"hibernated", newDisk(t, hiberfil("HIBR")), ntfsmount.Tool{}, []error{ntfsmount.ErrHibernated}, "ntfs-3g says"},
		{"hibernated, Windows 7", newDisk(t, hiberfil("hibr")), ntfsmount.Tool{}, []error{ntfsmount.ErrHibernated}, "ntfs-3g says"},
		{"fast startup", log(restartPage(2, false)), ntfsmount.Tool{}, []error{ntfsmount.ErrHibernated}, "ntfs-3g says"},
		{"not dismounted", log(restartPage(1, true)), ntfsmount.Tool{}, []error{ntfsmount.ErrUnclean}, "ntfs-3g says"},
		{"journal gone", log(make([]byte, 2*mib)), ntfsmount.Tool{}, []error{ntfsmount.ErrUnclean}, "ntfs-3g says"},
		{"no NTFS", garbage, ntfsmount.Tool{}, []error{ntfsmount.ErrCorrupt}, "ntfs-3g says"},
		{"corrupt", corrupt, ntfsmount.Tool{}, []error{ntfsmount.ErrCorrupt}, "ntfs-3g says"},
		{"no such tool", plain, ntfsmount.Tool{Path: "/nowhere/ntfs-3g"}, []error{ntfsmount.ErrMissing}, "nowhere"},
		{"no such directory", plain, ntfsmount.Tool{Dir: "/nowhere"}, []error{ntfsmount.ErrTool}, "nowhere"},
		{"another tool", plain, ntfsmount.Tool{Path: "/bin/true"}, []error{ntfsmount.ErrTool}, "it has ended"},
		{"a tool that fails", plain, ntfsmount.Tool{Path: script}, []error{ntfsmount.ErrTool}, `says "what nobody expects"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.tool.Dir == "" {
				c.tool.Dir = dir
			}
			before := content(t, c.disk)
			m, err := ntfsmount.Mount(t.Context(), c.tool, c.disk, offset, size)
			if err == nil {
				m.Close()
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			t.Log(err)
			wantNothing(t, dir)
			if !bytes.Equal(content(t, c.disk), before) {
				t.Error("a refused volume has changed")
			}
		})
	}
}

// Whatever makes ntfs-3g mount for reading: here it is told to.
func TestReadOnly(t *testing.T) {
	disk := newDisk(t, nil)
	script := filepath.Join(t.TempDir(), "ntfs-3g")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho for reasons of its own\nexec ntfs-3g \"$@,ro\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err := ntfsmount.Mount(t.Context(), ntfsmount.Tool{Path: script, Dir: dir}, disk, offset, size)
	if !errors.Is(err, ntfsmount.ErrReadOnly) || !strings.Contains(err.Error(), "for reasons of its own") {
		t.Errorf("got %v", err)
	}
	wantNothing(t, dir)
}

// faulty is a disk that does something at each write.
type faulty struct {
	*os.File
	writes atomic.Int64
	do     func(n int64) error
}

func (f *faulty) WriteAt(b []byte, off int64) (int, error) {
	if err := f.do(f.writes.Add(1)); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func TestDiskFails(t *testing.T) {
	cause := errors.New("the cable is out")
	dir := t.TempDir()
	d := &faulty{File: newDisk(t, nil), do: func(n int64) error {
		if n > 2 {
			return cause
		}
		return nil
	}}
	m := mount(t, dir, d)
	_ = m.Do(func(root *os.Root) error {
		f, err := root.Create("f")
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, 3*mib))
		return errors.Join(err, f.Sync(), f.Close())
	})
	if err := m.Close(); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	wantNothing(t, dir)
}

func TestCancel(t *testing.T) {
	cause := errors.New("cancelled by the test")
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	d := &faulty{File: newDisk(t, nil), do: func(n int64) error {
		if n == 3 {
			cancel(cause)
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	}}
	m, err := ntfsmount.Mount(ctx, ntfsmount.Tool{Dir: dir}, d, offset, size)
	if err != nil {
		t.Fatal(err)
	}
	err = m.Do(func(root *os.Root) error {
		for {
			f, err := root.Create("f")
			if err != nil {
				return err
			}
			_, err = f.Write(make([]byte, mib))
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, cause) {
		t.Errorf("Do: %v", err)
	}
	if err := m.Close(); !errors.Is(err, cause) {
		t.Errorf("Close: %v", err)
	}
	wantNothing(t, dir)
	if _, err := ntfsmount.Mount(ctx, ntfsmount.Tool{Dir: dir}, d, offset, size); !errors.Is(err, cause) {
		t.Errorf("Mount: %v", err)
	}
	wantNothing(t, dir)
}

func TestBusy(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, dir, newDisk(t, nil))
	other := exec.Command("sleep", "60")
	other.Dir = m.Dir()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = other.Process.Kill(), other.Wait() }()
	if err := m.Close(); !errors.Is(err, ntfsmount.ErrBusy) {
		t.Errorf("got %v", err)
	}
	wantNothing(t, dir)
}

// Files that this process opens elsewhere are none of the volume's threads.
func TestDoIsApart(t *testing.T) {
	m := mount(t, t.TempDir(), newDisk(t, nil))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = m.Do(func(root *os.Root) error {
		var stat unix.Stat_t
		if err := unix.Fstat(int(w.Fd()), &stat); !errors.Is(err, unix.EBADF) {
			// The number may be in use for the root directory.
			if stat.Mode&unix.S_IFMT == unix.S_IFIFO {
				t.Errorf("the thread has the pipe: %v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
