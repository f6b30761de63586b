package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"imageport/platforms"
	"imageport/platforms/cedir"
)

const (
	maxDisks     = 8    // of a CE
	maxNameBytes = 1024 // of a disk
	// maxDiskBytes is what VHDX can have; the other formats can have as much.
	maxDiskBytes = 64 << 40
	mib          = 1 << 20
)

// outputDisk is what is known of an output disk, in disks.json.
type outputDisk struct {
	platforms.OutputDisk
	Serial string
	// Partial is the file as long as it is not complete. Its last element is
	// that of Target already, because VMDK files contain their own name.
	Partial, Target string
	// Made says that Partial is a whole, empty disk or more.
	Made bool
	// Keeping identifies the complete file, from shortly before it gets its name.
	Keeping *fileID
	// Kept says that the file has its name, and is no longer ours.
	Kept bool
}

// fileID is a file whatever it is called.
type fileID struct{ Dev, Ino uint64 }

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{Dev: st.Dev, Ino: st.Ino}, nil
}

// is reports whether the file of that path is f.
func (f fileID) is(path string) bool {
	id, err := identify(path)
	return err == nil && id == f
}

// describeDisk gives the disk as it is to be made for the CE.
func (d *Driver) describeDisk(ce string, disk platforms.OutputDisk) (outputDisk, error) {
	refuse := func(format string, args ...any) (outputDisk, error) {
		return outputDisk{}, platforms.Errorf(platforms.BadRequest, "output disk %q: %s", disk.Name, fmt.Sprintf(format, args...))
	}
	if disk.Format == "" {
		disk.Format = platforms.DiskFormat(strings.TrimPrefix(strings.ToLower(filepath.Ext(disk.Name)), "."))
		if disk.Format != platforms.VMDK && disk.Format != platforms.VHDX {
			disk.Format = platforms.Raw
		}
	}
	switch {
	case d.cfg.OutputDir == "":
		return refuse("this worker's configuration has no directory for output disks")
	case !filepath.IsLocal(disk.Name) || filepath.Clean(disk.Name) != disk.Name || len(disk.Name) > maxNameBytes,
		strings.HasPrefix(filepath.Base(disk.Name), "."), strings.ContainsFunc(disk.Name, unicode.IsControl):
		return refuse("want a path below the directory for output disks, as images/win11.vmdk")
	case disk.Format != platforms.Raw && disk.Format != platforms.VMDK && disk.Format != platforms.VHDX:
		return refuse("format %q: want raw, vmdk or vhdx", disk.Format)
	case disk.SizeBytes <= 0 || disk.SizeBytes%mib != 0 || disk.SizeBytes > maxDiskBytes:
		return refuse("%d bytes: want a multiple of 1 MiB up to %d TiB", disk.SizeBytes, maxDiskBytes>>40)
	}
	sum := sha256.Sum256([]byte(ce + "/" + disk.Name))
	target := filepath.Join(d.cfg.OutputDir, disk.Name)
	folder, file := filepath.Split(target)
	return outputDisk{
		OutputDisk: disk,
		Serial:     hex.EncodeToString(sum[:10]), // SCSI disks of QEMU have 36 characters at most
		Partial:    filepath.Join(folder, "."+ce+"."+hex.EncodeToString(sum[:4])+".partial", file),
		Target:     target,
	}, nil
}

// mayBecome reports why the disk cannot get its name.
func (o outputDisk) mayBecome() error {
	if _, err := os.Lstat(o.Target); err == nil {
		return platforms.Errorf(platforms.Foreign, "output disk %q: there is a file %s", o.Name, o.Target)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	folder := filepath.Dir(o.Target)
	if st, err := os.Stat(folder); err != nil {
		return fmt.Errorf("output disk %q: its folder: %w", o.Name, err)
	} else if !st.IsDir() {
		return platforms.Errorf(platforms.BadRequest, "output disk %q: %s is no folder", o.Name, folder)
	}
	return cedir.Writable(folder)
}

// CheckOutputDisk implements platforms.OutputDisks.
func (d *Driver) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	o, err := d.describeDisk("", disk)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = d.checkOutputDir(ctx)
	}
	if err == nil {
		err = o.mayBecome()
	}
	return cedir.Fail("check", "output disk", err)
}

// AddOutputDisk implements platforms.OutputDisks.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, disk platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	o, err := d.addOutputDisk(ctx, ce, disk)
	if err != nil {
		return platforms.OutputDiskRef{}, cedir.Fail("add output disk", ce, err)
	}
	return platforms.OutputDiskRef{Serial: o.Serial, Ref: o.Partial}, nil
}

func (d *Driver) addOutputDisk(ctx context.Context, ce string, disk platforms.OutputDisk) (outputDisk, error) {
	want, err := d.describeDisk(ce, disk)
	if err != nil {
		return want, err
	}
	dir, release, err := d.store.Hold(ctx, ce)
	if err != nil {
		return want, err
	}
	defer release()
	if p, err := cedir.Recorded(dir); err != nil {
		return want, err
	} else if !p.Alive() {
		return want, platforms.Errorf(platforms.Busy, "the CE does not run")
	}
	disks, err := readDisks(dir)
	if err != nil {
		return want, err
	}
	i := slices.IndexFunc(disks, func(o outputDisk) bool { return o.Name == want.Name })
	switch {
	case i < 0 && len(disks) == maxDisks:
		return want, platforms.Errorf(platforms.BadRequest, "output disk %q: the CE has %d already", want.Name, maxDisks)
	case i < 0:
		if err := want.mayBecome(); err != nil {
			return want, err
		}
		i, disks = len(disks), append(disks, want)
		if err := d.writeDisks(dir, disks); err != nil {
			return want, err
		}
	case disks[i].OutputDisk != want.OutputDisk:
		return want, platforms.Errorf(platforms.BadRequest, "output disk %q: the CE has one of %d bytes as %s, want %d bytes as %s",
			want.Name, disks[i].SizeBytes, disks[i].Format, want.SizeBytes, want.Format)
	case disks[i].Keeping != nil:
		return want, platforms.Errorf(platforms.BadRequest, "output disk %q: it was kept already", want.Name)
	}
	o := &disks[i]
	if !o.Made {
		if err := d.makeDisk(ctx, *o); err != nil {
			return want, err
		}
		o.Made = true
		if err := d.writeDisks(dir, disks); err != nil {
			return want, err
		}
	}
	m, err := dial(ctx, dir)
	if err != nil {
		return want, err
	}
	defer m.close()
	return *o, d.attach(ctx, m, *o)
}

// KeepOutputDisk implements platforms.OutputDisks.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	return cedir.Fail("keep output disk", ce, d.keepOutputDisk(ctx, ce, name))
}

func (d *Driver) keepOutputDisk(ctx context.Context, ce, name string) error {
	dir, release, err := d.store.Hold(ctx, ce)
	if err != nil {
		return err
	}
	defer release()
	disks, err := readDisks(dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(disks, func(o outputDisk) bool { return o.Name == name && o.Made })
	if i < 0 {
		return platforms.Errorf(platforms.NotFound, "the CE has no output disk %q", name)
	}
	o := &disks[i]
	if o.Kept {
		return nil
	}
	if o.Keeping == nil {
		if err := d.release(ctx, dir, *o); err != nil {
			return err
		}
		if err := d.checkDisk(ctx, *o); err != nil {
			return err
		}
		id, err := identify(o.Partial)
		if err != nil {
			return err
		}
		o.Keeping = &id
		if err := d.writeDisks(dir, disks); err != nil {
			return err
		}
	}
	if err := o.name(); err != nil {
		return err
	}
	d.store.Step("named the disk")
	if err := removeEmpty(filepath.Dir(o.Partial)); err != nil {
		return err
	}
	o.Kept = true
	return d.writeDisks(dir, disks)
}

// release detaches the disk from the machine, if that runs.
func (d *Driver) release(ctx context.Context, dir string, o outputDisk) error {
	if p, err := cedir.Recorded(dir); err != nil || !p.Alive() {
		return err
	}
	m, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer m.close()
	return d.detach(ctx, m, o)
}

// name gives the complete disk its name.
func (o outputDisk) name() error {
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
	if err := os.Remove(o.Partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFile(filepath.Dir(o.Target))
}

// discard removes the disks that were not kept. The machine is gone.
func discard(dir string) error {
	disks, err := readDisks(dir)
	if err != nil {
		return err
	}
	for _, o := range disks {
		if o.Kept {
			continue
		}
		if err := os.Remove(o.Partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := removeEmpty(filepath.Dir(o.Partial)); err != nil {
			return err
		}
	}
	return nil
}

func readDisks(dir string) ([]outputDisk, error) {
	var disks []outputDisk
	_, err := cedir.ReadJSON(filepath.Join(dir, disksFile), &disks)
	return disks, err
}

func (d *Driver) writeDisks(dir string, disks []outputDisk) error {
	err := cedir.ReplaceJSON(filepath.Join(dir, disksFile), disks)
	d.store.Step("wrote " + disksFile)
	return err
}

// removeEmpty removes a directory of ours, if it is there.
func removeEmpty(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncFile puts a file or directory on stable storage.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
