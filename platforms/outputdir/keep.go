package outputdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"imageport/platforms"
	"imageport/platforms/cedir"
)

// KeepOutputDisk does what platforms.OutputDisks asks for.
func (d *Disks) KeepOutputDisk(ctx context.Context, ce, name string) error {
	return cedir.Fail("keep output disk", ce, d.keep(ctx, ce, name))
}

func (d *Disks) keep(ctx context.Context, ce, name string) error {
	dir, release, err := d.Store.Hold(ctx, ce)
	if err != nil {
		return err
	}
	defer release()
	if err := cedir.NoGuest(dir); err != nil {
		return err
	}
	disks, err := recorded(dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(disks, func(o Disk) bool { return o.Name == name && o.Made })
	if i < 0 {
		return platforms.Errorf(platforms.NotFound, "the CE has no output disk %q", name)
	}
	o := &disks[i]
	if o.Kept {
		return nil
	}
	if o.Keeping == nil {
		if err := d.Detach(ctx, dir, *o); err != nil {
			return err
		}
		if o.Format != platforms.Raw { // which has nothing to be verified
			if err := d.Verify(ctx, *o); err != nil {
				return err
			}
		}
		if err := cedir.Sync(o.Partial); err != nil {
			return err
		}
		id, err := identify(o.Partial)
		if err != nil {
			return err
		}
		o.Keeping = &id
		if err := d.record(dir, disks); err != nil {
			return err
		}
	}
	if err := o.name(); err != nil {
		return err
	}
	d.Store.Step("named the disk")
	if err := removeFolder(filepath.Dir(o.Partial)); err != nil {
		return err
	}
	o.Kept = true
	return d.record(dir, disks)
}

// name gives the complete disk its name.
func (o Disk) name() error {
	if !o.Keeping.is(o.Target) {
		err := unix.Renameat2(unix.AT_FDCWD, o.Partial, unix.AT_FDCWD, o.Target, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system without that
			err = unix.Link(o.Partial, o.Target)
		}
		if errors.Is(err, unix.EEXIST) {
			return platforms.Errorf(platforms.Foreign, "output disk %q: there is a file %s now", o.Name, o.Target)
		}
		if err != nil {
			return &os.LinkError{Op: "rename", Old: o.Partial, New: o.Target, Err: err}
		}
	}
	// If it was linked, the other name is still there.
	if err := removeFile(o.Partial); err != nil {
		return err
	}
	return cedir.Sync(filepath.Dir(o.Target))
}

// Discard removes the disks of the CE in dir that were not kept, and the folders
// that were made for them, if they are empty. The CE does not run any more.
func Discard(dir string) error {
	disks, err := recorded(dir)
	if err != nil {
		return err
	}
	var folders []string
	for _, o := range disks {
		if o.Kept {
			continue
		}
		if err := removeFile(o.Partial); err != nil {
			return err
		}
		if err := removeFolder(filepath.Dir(o.Partial)); err != nil {
			return err
		}
		folders = append(folders, o.Folders...)
	}
	// The folders of one disk may have been those of another one, too.
	for _, folder := range slices.Backward(folders) {
		if err := removeFolder(folder); err != nil {
			return err
		}
	}
	return nil
}

// removeFile removes a file, if it is there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeFolder removes a folder, if it is there and is empty. What else is in
// it somebody else has put there.
func removeFolder(path string) error {
	err := unix.Rmdir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}
