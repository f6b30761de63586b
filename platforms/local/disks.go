package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"imageport/platforms"
	"imageport/platforms/outputdir"
)

// disksDir is, in the CE's directory, where the agent finds its output disks: a
// symbolic link for each, called by the disk's serial number.
const disksDir = "disks"

// CheckOutputDisk implements platforms.OutputDisks.
func (d *Driver) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	return d.disks.CheckOutputDisk(ctx, disk)
}

// AddOutputDisk implements platforms.OutputDisks.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, disk platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	return d.disks.AddOutputDisk(ctx, ce, disk)
}

// KeepOutputDisk implements platforms.OutputDisks. An agent that still has the
// file open can still write to it.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	return d.disks.KeepOutputDisk(ctx, ce, name)
}

// attach shows the agent of the CE in dir the disk.
func (d *Driver) attach(_ context.Context, dir string, o outputdir.Disk) error {
	if err := os.Mkdir(filepath.Join(dir, disksDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d.store.Step("made " + disksDir)
	// A link of that name leads to this disk: no other one has its serial number.
	if err := os.Symlink(o.Partial, filepath.Join(dir, disksDir, platforms.BySerial(o.Serial))); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d.store.Step("linked the disk")
	return nil
}

// detach takes the disk out of the agent's sight.
func (d *Driver) detach(_ context.Context, dir string, o outputdir.Disk) error {
	if err := os.Remove(filepath.Join(dir, disksDir, platforms.BySerial(o.Serial))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.store.Step("removed the disk's link")
	return nil
}
