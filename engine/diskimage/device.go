package diskimage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"imageport/engine/copyfile"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/disk/gpt"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// writeDevice has fill write the disk to what exists. What fails leaves an
// incomplete disk, of which the error tells.
func (o *Output) writeDevice(src source, fill filler) (done written, err error) {
	claim, err := o.claimDevice(src)
	if err != nil {
		return written{}, err
	}
	defer func() { err = errors.Join(err, claim.Close()) }()
	// The claim does not keep others in this process out.
	f, err := copyfile.Open(o.Device, claim.size)
	if err != nil {
		return written{}, err
	}
	err = fill(deviceWriter{f}, copier.Options{})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return written{}, fmt.Errorf("%w; what is on %s now is incomplete", full(err), o.Device)
	}
	return written{claim.size, claim.warnings(src)}, nil
}

// full gives the code to the error of a file that has no space.
func full(err error) error {
	if job.CodeOf(err) == "" && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return job.Errorf(job.ShareFull, "Make space", "%w", err)
	}
	return err
}

// deviceWriter is an existing device or file as a writer. It is a
// copier.ZeroRanger.
type deviceWriter struct{ *copyfile.File }

// Finish makes what was written durable.
func (w deviceWriter) Finish() (int64, error) { return w.Size(), w.Sync() }

// claimed is a device, or a file, that nobody else is using: not mounted, not
// a part of another device, and not opened by others that ask.
type claimed struct {
	*os.File
	path   string
	size   int64
	device bool
}

// claimDevice opens the output's device for itself alone, and refuses one that
// the disk must not be written to.
func (o *Output) claimDevice(src source) (_ *claimed, err error) {
	// O_EXCL on a block device fails while it or one of its partitions is
	// mounted, and keeps it from being mounted. O_NONBLOCK is for pipes.
	f, err := os.OpenFile(o.Device, os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, inUse(o.Device, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, job.Errorf(job.BadRequest, "Check the path; a new file needs no such option", "there is no device or file %s: %w", o.Device, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, job.Errorf(job.ShareDenied, "Run it as a user who may write to it", "%w", err)
	case err != nil:
		return nil, err
	}
	c := &claimed{File: f, path: o.Device}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := c.measure(); err != nil {
		return nil, err
	}
	if c.size < src.size {
		return nil, job.Errorf(job.BadRequest, "Choose a larger one", "%s has %d bytes, the disk has %d", o.Device, c.size, src.size)
	}
	if err := c.notAnImage(); err != nil {
		return nil, err
	}
	return c, c.notASource(src.layers())
}

// notAnImage refuses a file that is an image of another format: the disk would
// destroy it, and it would still have the name of an image.
func (c *claimed) notAnImage() error {
	if c.device {
		return nil
	}
	kind, err := vhdx.SniffFile(c, c.size)
	if err != nil || kind == "" || kind == "iso" { // which a raw disk may hold
		return err
	}
	return job.Errorf(job.OutputExists, "Choose another one; remove the file if it is not needed any more",
		"%s is a %s image, which a raw disk would destroy", c.path, kind)
}

func inUse(path string, err error) error {
	return job.Errorf(job.OutputInUse, "Unmount it, or choose another one", "%s is in use: it is mounted, a part of another device, or being written to: %w", path, err)
}

// measure finds out kind and size.
func (c *claimed) measure() error {
	info, err := c.Stat()
	if err != nil {
		return err
	}
	kind := info.Mode().Type()
	c.device = kind&fs.ModeDevice != 0 && kind&fs.ModeCharDevice == 0
	if kind != 0 && !c.device {
		return job.Errorf(job.BadRequest, "Choose a block device or a file", "%s is neither a block device nor a file", c.path)
	}
	if !c.device {
		if err := unix.Flock(int(c.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return inUse(c.path, err)
		}
	}
	// The size of a device is not in its Stat.
	c.size, err = c.Seek(0, io.SeekEnd)
	return err
}

// notASource refuses a target that is a file of the source, or a loop device
// over one.
func (c *claimed) notASource(sources []chain.Layer) error {
	info, err := c.Stat()
	if err == nil && c.device {
		info, err = c.backing()
	}
	if err != nil || info == nil {
		return err
	}
	return notASource(c.path, info.Size(), info.ModTime(), sources)
}

// backing describes the file below a loop device; nil for another device, and
// for a file that has no name any more.
func (c *claimed) backing() (fs.FileInfo, error) {
	path, err := filepath.EvalSymlinks(c.path)
	if err != nil {
		return nil, err
	}
	name, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(path), "loop", "backing_file"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(strings.TrimSuffix(string(name), "\n"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// warnings says what may be unexpected about the disk on this device.
func (c *claimed) warnings(src source) []string {
	var all []string
	if c.size > src.size {
		if _, err := gpt.Read(src.disk); err == nil {
			all = append(all, fmt.Sprintf("%s is larger than the disk, so that the backup of its GPT is not at the end: sgdisk -e %s moves it there", c.path, c.path))
		}
	}
	if c.device {
		sector, err := unix.IoctlGetInt(int(c.Fd()), unix.BLKSSZGET)
		if err == nil && sector != src.sector {
			all = append(all, fmt.Sprintf("%s has sectors of %d bytes, the disk has sectors of %d: its partitions will not be found", c.path, sector, src.sector))
		}
	}
	return all
}
