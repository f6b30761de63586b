package ntfsresize_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imageport/engine/disk/overlay"
	"imageport/engine/fusefile"
	"imageport/engine/ntfsresize"
	"imageport/engine/windows/ntfs"
)

const mib = 1 << 20

// otherMemory is ntfsresize with other bytes in memory that nobody has set: none
// of them may end up on the volume.
func otherMemory(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("ntfsresize")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ntfsresize")
	script := fmt.Sprintf("#!/bin/sh\nMALLOC_PERTURB_=165\nexport MALLOC_PERTURB_\nexec %s \"$@\"\n", program)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const mftAtEnd = "$MFT has grown at the end"

func TestShrink(t *testing.T) {
	for _, c := range []struct {
		name          string
		size, newSize int64
		from, to      int64 // no data between them
		sector        int64
		format        []string
	}{
		{"usual clusters", 120 * mib, 70 * mib, 30 * mib, 90 * mib, 512, []string{"-s", "512", "-c", "4096"}},
		{"just above the least", 120 * mib, 0, 30 * mib, 90 * mib, 512, []string{"-s", "512", "-c", "4096"}},
		{"a little", 120*mib + 512, 119 * mib, 20 * mib, 117 * mib, 512, []string{"-s", "512", "-c", "4096"}},
		{"4096-byte sectors", 120 * mib, 70 * mib, 30 * mib, 90 * mib, 4096, []string{"-s", "4096", "-c", "4096"}},
		{"large clusters", 120 * mib, 80 * mib, 30 * mib, 90 * mib, 512, []string{"-s", "512", "-c", "65536"}},
		{"small clusters", 80 * mib, 50*mib + 512, 20 * mib, 60 * mib, 512, []string{"-s", "512", "-c", "512"}},
		{mftAtEnd, 120 * mib, 70 * mib, 0, 90 * mib, 512, []string{"-s", "512", "-c", "4096"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			parent := openImage(t, makeVolume(t, c.size, c.from, c.to, c.format...))
			want := byUs(t, parent, c.size)
			if len(want) < 200 {
				t.Fatalf("only %d files", len(want))
			}
			resizer := ntfsresize.Tool{Dir: dir}
			info, err := resizer.Info(t.Context(), parent, c.size)
			if err != nil {
				t.Fatal(err)
			}
			if c.newSize == 0 {
				c.newSize = (info.MinBytes + mib - 1) / mib * mib
			}
			if info.MinBytes <= 0 || info.MinBytes > c.newSize || info.VolumeBytes >= c.size {
				t.Fatalf("%+v", info)
			}
			if c.name == mftAtEnd && !reaches(t, parent, c.size, c.newSize) {
				t.Fatal("$MFT ends before the new end")
			}
			var hash string
			for run := range 2 {
				if run == 1 {
					resizer.Path = otherMemory(t)
				}
				child := overlay.New(parent)
				var last atomic.Int64
				plan, err := resizer.Shrink(t.Context(), child, c.size, c.newSize, func(done, total int64) {
					if done < last.Load() || done > total {
						t.Errorf("progress from %d to %d of %d", last.Load(), done, total)
					}
					last.Store(done)
				})
				if err != nil {
					t.Fatal(err)
				}
				if last.Load() != plan.MaxWritten {
					t.Errorf("progress ended at %d of %d", last.Load(), plan.MaxWritten)
				}
				if err := child.DropUnchanged(); err != nil {
					t.Fatal(err)
				}
				t.Logf("least %d, moved %d, journal %d: changed %d, at most %d", info.MinBytes, plan.MovedBytes, plan.JournalBytes, child.DirtyBytes(), plan.MaxWritten)
				if child.DirtyBytes() > plan.MaxWritten {
					t.Errorf("%d bytes have changed, want at most %d", child.DirtyBytes(), plan.MaxWritten)
				}
				if run == 1 {
					if pagesHash(child) != hash {
						t.Error("two runs differ")
					}
					break
				}
				hash = pagesHash(child)
				checkShrunk(t, child, c.newSize, c.sector, 0, want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// reaches tells whether $MFT has a piece that ends behind end.
func reaches(t *testing.T, volume io.ReaderAt, size, end int64) bool {
	t.Helper()
	v, err := ntfs.Open(volume, size)
	if err != nil {
		t.Fatal(err)
	}
	mft, err := v.Open(`\$MFT`)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := mft.Extents()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(extents, func(e ntfs.Extent) bool { return e.VolumeOffset+e.Length > end })
}

// checkShrunk asks everybody who knows NTFS.
func checkShrunk(t *testing.T, volume io.ReaderAt, size, sector int64, flags uint16, want listing) {
	t.Helper()
	v, err := ntfs.Open(volume, size)
	if err != nil {
		t.Fatal(err)
	}
	if s := v.State(); s.Dirty || s.Flags != flags || s.TotalBytes > size-sector || s.TotalBytes < size-sector-int64(s.ClusterSize) {
		t.Errorf("in %d bytes: %+v", size, s)
	}
	if clean, err := v.LogFileClean(); err != nil || !clean {
		t.Errorf("LogFileClean() = %v, %v", clean, err)
	}
	first, last := make([]byte, sector), make([]byte, sector)
	if _, err := volume.ReadAt(first, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := volume.ReadAt(last, size-sector); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !bytes.Equal(first, last) {
		t.Error("backup boot sector differs")
	}
	mft, err := v.Open(`\$MFT`)
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := v.Open(`\$MFTMirr`)
	if err != nil {
		t.Fatal(err)
	}
	a, b := make([]byte, mirror.Size()), make([]byte, mirror.Size())
	if _, err := mirror.ReadAt(a, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if _, err := mft.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("$MFTMirr differs")
	}
	if got := byUs(t, volume, size); !maps.Equal(got, want) {
		t.Errorf("package ntfs sees %d files, which differ from the %d before", len(got), len(want))
	}

	// The rest sees nothing behind the new end. Without --force, ntfsresize
	// refuses a volume that is to be checked.
	path := saved(t, volume, size)
	tool(t, "ntfs-3g.probe", "--readwrite", path)
	if out := tool(t, "ntfsresize", "--info", "--no-progress-bar", path); !strings.Contains(out, "You might resize at") {
		t.Errorf("ntfsresize: %s", out)
	}
	if out := tool(t, "ntfsfix", "--no-action", path); !strings.Contains(out, "processed successfully") || strings.Contains(out, "rror") {
		t.Errorf("ntfsfix: %s", out)
	}
	if got := byNTFS3G(t, path); !maps.Equal(got, want) {
		t.Errorf("ntfs-3g sees %d files, which differ from the %d before", len(got), len(want))
	}
}

// TestShrinkWithinSlack: a partition that is larger than its volume.
func TestShrinkWithinSlack(t *testing.T) {
	const size = 40 * mib
	path := makeVolume(t, size, size/4, size*3/4, "-s", "512", "-c", "4096")
	if err := os.Truncate(path, size+5*mib); err != nil {
		t.Fatal(err)
	}
	parent := openImage(t, path)
	v, err := ntfs.Open(parent, size+5*mib)
	if err != nil {
		t.Fatal(err)
	}
	want := byUs(t, parent, parent.size)
	for _, newSize := range []int64{size + mib, size, v.State().TotalBytes + 512} {
		child := overlay.New(parent)
		plan, err := ntfsresize.Tool{}.Shrink(t.Context(), child, parent.size, newSize, nil)
		if err != nil {
			t.Fatalf("to %d: %v", newSize, err)
		}
		if plan.MovedBytes != 0 || child.DirtyBytes() > 4*4096 {
			t.Errorf("to %d: %+v, changed %d bytes", newSize, plan, child.DirtyBytes())
		}
		after, err := ntfs.Open(child, newSize)
		if err != nil {
			t.Fatal(err)
		}
		if got := after.State().TotalBytes; got != v.State().TotalBytes {
			t.Errorf("to %d: the volume has %d bytes, had %d", newSize, got, v.State().TotalBytes)
		}
		tool(t, "ntfs-3g.probe", "--readwrite", saved(t, child, newSize))
		if got := byUs(t, child, newSize); !maps.Equal(got, want) {
			t.Error("files differ")
		}
	}
}

func TestRefusals(t *testing.T) {
	const size = 40 * mib
	path := makeVolume(t, size, size/4, size*3/4, "-s", "512", "-c", "4096")
	parent := openImage(t, path)
	resizer := ntfsresize.Tool{Dir: t.TempDir()}

	// ntfsresize alone asks for a chkdsk.
	dirty := overlay.New(parent)
	file, err := fusefile.Mount(t.Context(), t.TempDir(), "disk", dirty, size)
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "ntfsresize", "--force", "--no-progress-bar", "--size", "41000960", file.Path())
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	// The bitmap says that a used cluster is free.
	corrupt := overlay.New(parent)
	v, err := ntfs.Open(parent, size)
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := v.Open(`\$Bitmap`)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := bitmap.Extents()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := corrupt.WriteAt([]byte{0}, extents[0].VolumeOffset); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name    string
		volume  *overlay.Overlay
		tool    ntfsresize.Tool
		newSize int64
		want    error
		says    string
	}{
		{"larger", overlay.New(parent), resizer, size + 512, ntfsresize.ErrSize, "41943552"},
		{"the same", overlay.New(parent), resizer, size, ntfsresize.ErrSize, "41943040"},
		{"half a sector", overlay.New(parent), resizer, size/2 + 256, ntfsresize.ErrSize, "sectors of 512"},
		{"negative", overlay.New(parent), resizer, -512, ntfsresize.ErrSize, "-512"},
		{"less than the data", overlay.New(parent), resizer, mib, ntfsresize.ErrTooSmall, "occupied by data"},
		{"dirty", dirty, resizer, size / 2, ntfsresize.ErrUnclean, "chkdsk"},
		{"corrupt bitmap", corrupt, resizer, size / 2, ntfsresize.ErrCorrupt, "ntfsresize says"},
		{"no such tool", overlay.New(parent), ntfsresize.Tool{Path: filepath.Join(t.TempDir(), "none")}, size / 2, ntfsresize.ErrMissing, "none"},
		{"no such directory", overlay.New(parent), ntfsresize.Tool{Dir: "/nowhere"}, size / 2, ntfsresize.ErrTool, "nowhere"},
		{"another tool", overlay.New(parent), ntfsresize.Tool{Path: "/bin/true"}, size / 2, ntfsresize.ErrTool, "no end"},
		{"a tool that fails", overlay.New(parent), ntfsresize.Tool{Path: "/bin/false"}, size / 2, ntfsresize.ErrTool, "exit status 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := pagesHash(c.volume)
			_, err := c.tool.Shrink(t.Context(), c.volume, size, c.newSize, nil)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			t.Log(err)
			if pagesHash(c.volume) != before {
				t.Error("a refused volume has changed")
			}
		})
	}
	if _, err := resizer.Info(t.Context(), bytes.NewReader(make([]byte, size)), size); !errors.Is(err, ntfs.ErrNotNTFS) {
		t.Errorf("no NTFS: %v", err)
	}
	if _, err := resizer.Info(t.Context(), corrupt, size); !errors.Is(err, ntfsresize.ErrCorrupt) {
		t.Errorf("corrupt: %v", err)
	}
}

// faulty fails, or stops, at a certain write.
type faulty struct {
	*overlay.Overlay
	writes atomic.Int64
	at     int64
	do     func() error
}

func (f *faulty) WriteAt(b []byte, off int64) (int, error) {
	if f.writes.Add(1) >= f.at {
		if err := f.do(); err != nil {
			return 0, err
		}
	}
	return f.Overlay.WriteAt(b, off)
}

func TestVolumeFails(t *testing.T) {
	const size = 40 * mib
	parent := openImage(t, makeVolume(t, size, size/4, size*3/4, "-s", "512", "-c", "4096"))
	cause := errors.New("no memory for another page")
	for _, at := range []int64{1, 3, 10} {
		dir := t.TempDir()
		volume := &faulty{Overlay: overlay.New(parent), at: at, do: func() error { return cause }}
		if _, err := (ntfsresize.Tool{Dir: dir}).Shrink(t.Context(), volume, size, size/2, nil); !errors.Is(err, cause) {
			t.Errorf("write %d: %v", at, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestCancel(t *testing.T) {
	const size = 40 * mib
	parent := openImage(t, makeVolume(t, size, size/4, size*3/4, "-s", "512", "-c", "4096"))
	dir := t.TempDir()
	cause := errors.New("cancelled by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	volume := &faulty{Overlay: overlay.New(parent), at: 2, do: func() error {
		cancel(cause)
		time.Sleep(20 * time.Millisecond)
		return nil
	}}
	start := time.Now()
	if _, err := (ntfsresize.Tool{Dir: dir}).Shrink(ctx, volume, size, size/2, nil); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("cancelled after %v", took)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if out, err := exec.Command("grep", dir, "/proc/self/mountinfo").Output(); err == nil {
		t.Errorf("still mounted: %s", out)
	}
	if _, err := (ntfsresize.Tool{Dir: dir}).Info(ctx, parent, size); !errors.Is(err, cause) {
		t.Errorf("Info of an ended context: %v", err)
	}
}
