package diskimage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/winimage/ntfs3g"
)

// scattered makes a volume with free clusters between many small files, and old
// data in them.
func scattered(t *testing.T, size int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(path, noise(size, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ntfs3g.Format(t.Context(), path, "test", 2048, 512); err != nil {
		t.Fatal(err)
	}
	v, err := ntfs3g.Mount(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return filepath.Join(v.Dir, fmt.Sprint(i)) }
	for i := range 100 {
		if err := os.WriteFile(name(i), noise(16<<10<<(i%5), byte(i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < 100; i += 2 {
		if err := os.Remove(name(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

// without is a disk without what ntfsclone leaves out of it in stretches of 64 KiB
// or more, and how many bytes those are.
func without(whole, used []byte) ([]byte, int64) {
	const sector, least = 512, 64 << 10
	want, left, short := bytes.Clone(whole), int64(0), 0
	for at := 0; at < len(whole); at += sector {
		from := at
		for at < len(whole) && !bytes.Equal(whole[at:at+sector], used[at:at+sector]) {
			at += sector
		}
		if at-from >= least {
			copy(want[from:at], used[from:at])
			left += int64(at - from)
		} else if at > from {
			short++
		}
	}
	if short == 0 {
		panic("there are no short stretches in the test")
	}
	return want, left
}

// The disk is what ntfsclone takes of it, however it is read, and says where it is
// nothing but zeros.
func TestUsed(t *testing.T) {
	dir := t.TempDir()
	clean, dirty := scattered(t, 15*mib), ntfsVolume(t, 10*mib, true)
	partitioned(t, dir, false, 16, clean, dirty)
	whole := read(t, filepath.Join(dir, "disk.raw"))
	used := bytes.Clone(whole)
	copy(used[mib:], usedOf(t, clean))
	want, left := without(whole, used)
	in := input(t, dir, "disk.raw")
	in.Raw = true
	c := open(t, in)
	u, err := diskimage.UsedOf(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Warnings) != 1 || !strings.Contains(u.Warnings[0], "partition 2 is copied whole: the volume is marked dirty") {
		t.Errorf("warnings %q", u.Warnings)
	}
	all := make([]byte, len(want))
	if _, err := u.ReadAt(all, 0); err != nil || !bytes.Equal(all, want) {
		t.Fatalf("differs from what ntfsclone copies: %v", err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off := rng.IntN(len(want))
		p := make([]byte, rng.IntN(1<<rng.IntN(22)))
		n, err := u.ReadAt(p, int64(off))
		if rest := len(want) - off; rest < len(p) {
			if n != rest || err != io.EOF {
				t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
			}
		} else if n != len(p) || err != nil && err != io.EOF {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
		if !bytes.Equal(p[:n], want[off:off+n]) {
			t.Fatalf("%d bytes at %d differ", n, off)
		}
	}
	if _, err := u.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("something is in front of the disk")
	}
	for _, from := range []int64{0, 3*mib + 512} {
		end, zeros := from, int64(0)
		for e, err := range u.Extents(from, u.Size()-from) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Offset != end || e.Length <= 0 || e.Offset%512 != 0 || e.Length%512 != 0 {
				t.Fatalf("%+v behind %d", e, end)
			}
			end += e.Length
			switch e.Kind {
			case disk.ExtentZero:
				zeros += e.Length
				if p := want[e.Offset:end]; !bytes.Equal(p, make([]byte, len(p))) {
					t.Errorf("%+v is not zeros", e)
				}
			case disk.ExtentData:
				if e.FileOffset != e.Offset { // it is a raw file
					t.Errorf("%+v", e)
				}
			}
		}
		if end != u.Size() || from == 0 && zeros != left {
			t.Errorf("the extents end at %d, and %d bytes are zeros, want %d", end, zeros, left)
		}
	}
}

// What overlaps is not left out.
func TestUsedOverlap(t *testing.T) {
	dir := t.TempDir()
	partitioned(t, dir, false, 16, ntfsVolume(t, 15*mib, false))
	whole := read(t, filepath.Join(dir, "disk.raw"))
	second := whole[446+16:]
	copy(second[:16], whole[446:]) // the same once more
	write(t, dir, "disk.raw", whole)
	in := input(t, dir, "disk.raw")
	in.Raw = true
	u, err := diskimage.UsedOf(t.Context(), open(t, in))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(whole))
	if _, err := u.ReadAt(got, 0); err != nil || !bytes.Equal(got, whole) || len(u.Warnings) == 0 {
		t.Errorf("not the whole disk: %v, %q", err, u.Warnings)
	}
}

// unsteady is a folder whose files cannot be read any more once broken is set.
type unsteady struct {
	share.Store
	broken *bool
}

type unsteadyFile struct {
	share.File
	broken *bool
}

var errUnsteady = job.Errorf(job.ShareIO, "Try again", "the cable is out")

func (s unsteady) Open(ctx context.Context, name string) (share.File, error) {
	f, err := s.Store.Open(ctx, name)
	return unsteadyFile{f, s.broken}, err
}

func (f unsteadyFile) ReadAt(p []byte, off int64) (int, error) {
	if *f.broken {
		return 0, errUnsteady
	}
	return f.File.ReadAt(p, off)
}

// A share that does not answer is no reason to copy all.
func TestUsedShareFails(t *testing.T) {
	dir := t.TempDir()
	partitioned(t, dir, false, 16, ntfsVolume(t, 15*mib, false))
	broken := false
	c := open(t, diskimage.Input{Folder: diskimage.Local(unsteady{store(t, dir), &broken}), Name: "disk.raw", Raw: true})
	broken = true
	if _, err := diskimage.UsedOf(t.Context(), c); !errors.Is(err, errUnsteady) {
		t.Error(err)
	}
}
