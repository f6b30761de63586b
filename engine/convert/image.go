package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/vhdx"
	"imageport/engine/share"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

// image is the input, open.
type image struct {
	file share.File
	id   FileID
	info vhdx.Info
	disk disk.Disk
	// read counts the bytes that were asked of the share.
	read *atomic.Int64
}

func (im *image) Close() error { return im.file.Close() }

// openImage opens the task's image and refuses what is not a fixed or dynamic
// disk of the format that the request names.
func openImage(ctx context.Context, store share.Store, t Task) (*image, error) {
	f, err := store.Open(ctx, t.Input)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, job.Errorf(job.ImageNotFound, "Check inputImageFilename and sharePath", "there is no image %s", t.Input)
	}
	if err != nil {
		return nil, err
	}
	im := &image{file: f, id: FileID{f.Size(), f.ModTime().UTC()}, read: new(atomic.Int64)}
	if err := im.parse(ctx, t); err != nil {
		f.Close()
		return nil, job.At(t.Input, err)
	}
	return im, nil
}

func (im *image) parse(ctx context.Context, t Task) error {
	counted := counter{im.file, im.read}
	kind, err := vhdx.SniffFile(counted, im.file.Size())
	if err != nil {
		return err
	}
	if wanted := map[job.ImageFormat]string{job.FormatVHDX: "vhdx", job.FormatVHD: "vhd"}[t.Format]; kind != wanted {
		return job.Errorf(job.WrongFormat, "Give the inputImageFormat that the file has", "by its signature the file is of the format %q, the request says %s", cmp.Or(kind, "unknown"), t.Format)
	}
	if kind == "vhd" {
		return job.Errorf(job.UnsupportedDisk, "Convert the vDisk to VHDX (Convert-VHD)", "VHD images are not supported yet")
	}
	parsed, err := vhdx.Open(cached(counted), im.file.Size())
	if err != nil {
		return diskError(err)
	}
	if im.info = parsed.Info(); im.info.Type == vhdx.Differencing {
		return job.Errorf(job.UnsupportedDisk, "Merge the vDisk's versions to a new base first", "the image is a differencing disk (a vDisk version), which is not supported yet as an input")
	}
	// Opening checks what it needs. A golden image is looked at completely.
	var broken *vhdx.Problem
	err = parsed.Check(ctx, func(p vhdx.Problem) {
		if broken == nil {
			broken = &p
		}
	})
	if err != nil {
		return diskError(err)
	}
	if broken != nil {
		return diskError(fmt.Errorf("%w: %w", vhdx.ErrCorrupt, broken))
	}
	im.disk, err = parsed.Disk(nil)
	return diskError(err)
}

// plan inspects the disk and plans its conversion.
func (im *image) plan(t Task) (*bootconv.Image, *bootconv.Plan, error) {
	inspected, err := bootconv.Inspect(im.disk)
	if err != nil {
		return nil, nil, job.At(t.Input, diskError(err))
	}
	plan, err := inspected.Plan(im.seed(t))
	if err != nil {
		return nil, nil, job.At(t.Input, diskError(err))
	}
	return inspected, plan, nil
}

// seed is what every GUID of the output is derived from: the job, the version
// of the image and the output's name. The same job writes the same bytes;
// different jobs, images or outputs share none.
func (im *image) seed(t Task) uuid.UUID {
	space := uuid.NewSHA1(uuid.NameSpaceURL, []byte("imageport:convertToUefi:"+t.Job))
	return uuid.NewSHA1(space, fmt.Appendf(nil, "%s\n%s\n%s", im.info.DataWriteGUID, t.Input, t.Output))
}

// diskError gives an error of package vhdx its code; others stay as they are.
func diskError(err error) error {
	switch {
	case job.CodeOf(err) != "":
		return err
	case errors.Is(err, vhdx.ErrDirtyLog):
		return job.Errorf(job.DiskDirtyLog, "Mount it once on Windows (Mount-VHD) and dismount it", "%w", err)
	case errors.Is(err, vhdx.ErrUnsupported):
		return job.Errorf(job.UnsupportedDisk, "Convert it with Convert-VHD", "%w", err)
	case errors.Is(err, vhdx.ErrCorrupt), errors.Is(err, vhdx.ErrNotVHDX):
		return job.Errorf(job.DiskCorrupt, "Restore it from a copy; Test-VHD tells more on Windows", "%w", err)
	}
	return err
}

// cached keeps 64 MiB of a file, in small blocks because what is read is
// scattered: above all the boot files of a Windows, which are read
// when they are copied and again when the copy is verified.
func cached(f share.File) io.ReaderAt { return share.Buffered(f, 64<<10, 1024) }

// counter counts what is read from a file.
type counter struct {
	share.File
	n *atomic.Int64
}

func (c counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}
