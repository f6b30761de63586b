package ntfsresize_test

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/engine/ntfsresize"
	"imageport/engine/windows/ntfs"
)

// memory is a disk in memory.
type memory struct{ *bytes.Reader }

func (m memory) SectorSize() int { return 512 }

// TestWindowsVolume shrinks a volume that Windows has formatted and used: its
// journal has been in use, a flag of it is set, and its size is no whole number of
// clusters.
func TestWindowsVolume(t *testing.T) {
	fixed, err := exec.Command("xz", "-dc", "../disk/vhd/testdata/ntfs-fixed.vhd.xz").Output()
	if err != nil {
		t.Fatal(err)
	}
	const start, size = 128 * 512, (6143 - 128 + 1) * 512
	parent := memory{bytes.NewReader(fixed[start : start+size])}
	before, err := ntfs.Open(parent, size)
	if err != nil {
		t.Fatal(err)
	}
	want := byUs(t, parent, size)
	info, err := ntfsresize.Tool{}.Info(t.Context(), parent, size)
	if err != nil {
		t.Fatal(err)
	}
	if s := before.State(); s.TotalBytes != size-512 || s.Flags == 0 || info.VolumeBytes != s.TotalBytes {
		t.Errorf("%+v, %+v", s, info)
	}
	const newSize = size - 100<<10
	if info.MinBytes > newSize {
		t.Fatalf("%+v", info)
	}
	for range 2 {
		child := overlay.New(parent)
		plan, err := ntfsresize.Tool{}.Shrink(t.Context(), child, size, newSize, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := child.DropUnchanged(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v, changed %d bytes", plan, child.DirtyBytes())
		if child.DirtyBytes() > plan.MaxWritten {
			t.Errorf("changed %d bytes", child.DirtyBytes())
		}
		checkShrunk(t, child, newSize, 512, before.State().Flags, want)
	}
	// A sector less is a cluster less.
	child := overlay.New(parent)
	_, err = ntfsresize.Tool{}.Shrink(t.Context(), child, size, size-512, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkShrunk(t, child, size-512, 512, before.State().Flags, want)
	if _, err := (ntfsresize.Tool{}).Shrink(t.Context(), child, size, info.MinBytes-2*4096, nil); !errors.Is(err, ntfsresize.ErrTooSmall) && !errors.Is(err, ntfsresize.ErrBlocked) {
		t.Errorf("less than the least: %v", err)
	}
}
