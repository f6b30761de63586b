package reverse

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"imageport/engine/copyfile"
	"imageport/engine/disk"
	"imageport/engine/disk/copier"
	"imageport/engine/windows/ntfs"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/winimage"
)

// leastLeft is the shortest free stretch that is left out, in bytes.
const leastLeft = 64 << 10

// sparse is a folder with a Windows in a VHDX of 32 MiB blocks, as Windows makes
// them, with old data in what is free. It gives the disk that is to come of it,
// how many bytes of it are left out, and where C: is.
func sparse(t *testing.T) (s *site, want string, left int64, c winimage.Partition) {
	t.Helper()
	spec := winimage.Spec{SizeBytes: 256 << 20, BootFiles: winimage.SmallBootFiles, UserDataMiB: 20}
	s = windows(t, spec)
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	clone := func(name string) (winimage.Image, *os.File) {
		made, err := img.Clone(t.Context(), filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(made.Path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return made, f
	}
	old, oldFile := clone("old.raw")
	clean, cleanFile := clone("want.raw")
	c, ok := img.Partition(winimage.Windows)
	if !ok {
		t.Fatal("there is no C:")
	}
	v, err := ntfs.Open(disk.Section(oldFile, c.StartBytes, c.SizeBytes), c.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte("old data"), 4096/8)
	for r, err := range v.FreeSpace() {
		if err != nil {
			t.Fatal(err)
		}
		if r.Length >= leastLeft {
			left += r.Length
			if _, err := cleanFile.WriteAt(make([]byte, r.Length), c.StartBytes+r.Offset); err != nil {
				t.Fatal(err)
			}
		}
		for at := r.Offset; at < r.Offset+r.Length; at += 1 << 20 {
			off := c.StartBytes + at
			if _, err := oldFile.WriteAt(junk, off); err != nil {
				t.Fatal(err)
			}
			if r.Length < leastLeft {
				if _, err := cleanFile.WriteAt(junk, off); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	disktest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "block_size=32M,subformat=dynamic", old.Path, filepath.Join(s.dir, s.task.Input))
	s.image = cleanFile
	return s, clean.Path, left, c
}

// What is free is neither read nor copied, and the file system is whole.
func TestCopyUsedOnly(t *testing.T) {
	s, want, left, c := sparse(t)
	for _, verify := range []string{"", job.VerifyFull} {
		s.task.Verify = verify
		a := s.approval(t)
		a.UsedOnly = true
		path := filepath.Join(t.TempDir(), "disk.raw")
		d, err := copyfile.Create(path, a.SizeBytes)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		done, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget)
		if err != nil {
			t.Fatal(err)
		}
		readOnce := done.BytesRead
		if verify != "" {
			readOnce /= 2
		}
		used := a.SizeBytes - left
		t.Logf("%q: %.1f of %.1f MiB used, %.1f MiB read", verify, float64(used)/mib, float64(a.SizeBytes)/mib, float64(done.BytesRead)/mib)
		if readOnce > used+4*mib || left < a.SizeBytes/2 {
			t.Errorf("%d bytes are used, and %d were read", used, readOnce)
		}
		disktest.Run(t, "cmp", want, path)
		if err := FixUp(t.Context(), s.store, s.task, a, d, quiet); err != nil {
			t.Fatal(err)
		}
		// Another reader of NTFS agrees on what the volume has.
		volume := filepath.Join(t.TempDir(), "volume")
		out, err := os.Create(volume)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(out, disk.Section(d, c.StartBytes, c.SizeBytes))
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
		disktest.Run(t, "ntfsresize", "--info", "--force", "--no-progress-bar", volume)
	}
}

// Power fails in between, and what was left out stays left out.
func TestResumeUsedOnly(t *testing.T) {
	s, _, _, _ := sparse(t)
	a := s.approval(t)
	whole := a.identity()
	if a.UsedOnly = true; a.identity() == whole {
		t.Error("a copy of all would go on from a state of one that leaves out")
	}
	rng := rand.New(rand.NewPCG(5, 6))
	resumed := 0
	for _, junk := range []int64{0, 64 << 20} { // an empty disk, and one that has to be zeroed
		for failAt := 3; failAt < 60; failAt += 8 + rng.IntN(20) {
			d := newDisk(a.SizeBytes)
			d.fill(junk)
			d.failAt = failAt
			var last *copier.State
			keep := func(c copier.State) { last = &c }
			if _, err := copyAt(t.Context(), eager(), s.store, s.task, a, d, nil, quiet, keep); job.CodeOf(err) != job.PlatformError {
				t.Fatal(err)
			}
			d.crash(rng)
			done, err := copyAt(t.Context(), eager(), s.store, s.task, a, d, throughJSON(t, last), quiet, keep)
			if err != nil {
				t.Fatal(err)
			}
			s.is(t, d)
			if done.ResumedBytes > 0 {
				resumed++
			}
		}
	}
	if resumed == 0 {
		t.Error("nothing was resumed")
	}
}
