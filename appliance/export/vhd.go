package export

import (
	"fmt"
	"io"

	"imageport/engine/disk/vhd"
)

// writeVHD writes a fixed VHD. Azure takes no other, and only of whole MiB
// besides the footer, which all disks here have.
func writeVHD(m *meter, w io.Writer, u *UKI, opt Options) (Layout, error) {
	disk, l, err := newDisk(u, opt, mib)
	if err != nil {
		return Layout{}, err
	}
	image, err := vhd.Create(&appending{w: w}, vhd.Options{
		Type:      vhd.Fixed,
		SizeBytes: disk.size,
		UniqueID:  u.id("VHD"),
		Timestamp: opt.Time,
	})
	if err != nil {
		return Layout{}, fmt.Errorf("export: %w", err)
	}
	m.total = disk.size
	if err := m.copy(io.NewOffsetWriter(image, 0), disk.reader()); err != nil {
		return Layout{}, err
	}
	if _, err := image.Finish(); err != nil {
		return Layout{}, fmt.Errorf("export: %w", err)
	}
	return l, nil
}

// appending is a vhd.File that is written front to back, as fixed images are.
type appending struct {
	w   io.Writer
	end int64
}

func (a *appending) WriteAt(p []byte, off int64) (int, error) {
	if off != a.end {
		return 0, fmt.Errorf("export: write at %d, the file ends at %d", off, a.end)
	}
	n, err := a.w.Write(p)
	a.end += int64(n)
	return n, err
}

// Sync leaves it to the file's owner.
func (a *appending) Sync() error { return nil }
