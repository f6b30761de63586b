package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"imageport/engine/blockdev"
	"imageport/engine/copyfile"
	"imageport/engine/reverse"
	"imageport/job"
)

// Disks opens the disk that a selector is for (package blockdev).
type Disks func(ctx context.Context, selector string) (Disk, error)

// Disk is an output disk that is open.
type Disk interface {
	reverse.Disk
	io.Closer
}

// diskWithin is how long a disk that was just attached may take until the kernel
// has found it.
const diskWithin = time.Minute

// MachineDisks are the disks of the machine that this is.
func MachineDisks(ctx context.Context, selector string) (Disk, error) {
	which, err := blockdev.Parse(selector)
	if err != nil {
		return nil, noDisk(selector, err)
	}
	ctx, cancel := context.WithTimeout(ctx, diskWithin)
	defer cancel()
	found, err := blockdev.This.Wait(ctx, which)
	switch {
	case err != nil:
		return nil, noDisk(selector, err)
	case found.ReadOnly:
		return nil, unfit(found, "is read-only")
	case found.SectorSize != sectorBytes:
		return nil, unfit(found, fmt.Sprintf("has sectors of %d bytes, not %d", found.SectorSize, sectorBytes))
	}
	return open(found.Path)
}

// sectorBytes is the sector size of the images that are copied: on a disk with
// another one, nobody would find their partitions.
const sectorBytes = 512

func unfit(d blockdev.Disk, why string) error {
	return job.Errorf(job.PlatformRefused, "Look at how the platform attaches disks", "the output disk %s %s", d, why)
}

// FolderDisks are the files of a folder, whose names are the selectors. They
// stand in for the disks of a machine where the agent is a mere process.
func FolderDisks(dir string) Disks {
	return func(_ context.Context, selector string) (Disk, error) {
		if _, err := blockdev.Parse(selector); err != nil || filepath.Base(selector) != selector {
			return nil, noDisk(selector, errors.New("it is no selector of a disk"))
		}
		return open(filepath.Join(dir, selector))
	}
}

func open(path string) (Disk, error) {
	d, err := copyfile.OpenWhole(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noDisk(filepath.Base(path), err)
	}
	if err != nil {
		return nil, job.Errorf(job.PlatformError, "Look at what else uses the Compositing Engine's disks", "the output disk: %w", err)
	}
	return d, nil
}

// noDisk is worth another attempt: the platform may not be done with it.
func noDisk(selector string, err error) error {
	return job.Errorf(job.PlatformError, "Look at what the platform says of the Compositing Engine's disks", "the output disk %q is not there: %w", selector, err)
}
