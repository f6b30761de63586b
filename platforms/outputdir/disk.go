package outputdir

import (
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

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/cedir"
)

const (
	maxDisks     = 8    // of a CE
	maxNameBytes = 1024 // of a disk
	// maxDiskBytes is what VHDX can have; the other formats can have as much.
	maxDiskBytes = 64 << 40
	mib          = 1 << 20
	// reserveBytes is what the file system must have left for a disk that takes
	// its room as it is written to. What it will take in the end nobody knows.
	reserveBytes = 64 * mib
	// serialBytes are random, and twice as many digits: SCSI disks of QEMU have
	// 36 at most.
	serialBytes = 10
)

// Disk is an output disk, as it is recorded in its CE's directory.
type Disk struct {
	platforms.OutputDisk
	// Serial is its serial number: lower-case hexadecimal digits.
	Serial string
	// Partial is the file as long as it is not complete. Its last element is
	// that of Target already, because VMDK files contain their own name.
	Partial, Target string
	// Folders are those that were not there before this disk, outermost first.
	Folders []string `json:",omitempty"`
	// Made says that Partial is a whole, empty disk or more.
	Made bool
	// Keeping identifies the complete file, from shortly before it gets its name.
	Keeping *fileID `json:",omitempty"`
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

// formatOf gives the format that the ending of a name stands for.
func formatOf(name string) platforms.DiskFormat {
	format := platforms.DiskFormat(strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), "."))
	if format == platforms.VMDK || format == platforms.VHDX {
		return format
	}
	return platforms.Raw
}

// describe gives the disk as it is to be made for the CE, but for its serial
// number and its folders.
func (d *Disks) describe(ce string, disk platforms.OutputDisk) (Disk, error) {
	refuse := func(format string, args ...any) (Disk, error) {
		return Disk{}, platforms.Errorf(platforms.BadRequest, "output disk %q: %s", disk.Name, fmt.Sprintf(format, args...))
	}
	ending := formatOf(disk.Name)
	if disk.Format == "" {
		disk.Format = ending
	}
	if disk.Provision == "" {
		disk.Provision = job.ProvisionThin
	}
	switch {
	case d.Dir == "":
		return refuse("this worker's configuration has no directory for output disks (output_dir under [%s])", d.Platform)
	case strings.HasPrefix(disk.Name, "[") && strings.Contains(disk.Name, "]"), strings.HasPrefix(disk.Name, "ds://"):
		return refuse("a datastore is a thing of vSphere, and platform %s has a directory: want a path below it, as images/win11.%s", d.Platform, d.Formats[0])
	case !filepath.IsLocal(disk.Name) || filepath.Clean(disk.Name) != disk.Name || len(disk.Name) > maxNameBytes,
		strings.HasPrefix(filepath.Base(disk.Name), "."), strings.ContainsFunc(disk.Name, unicode.IsControl):
		return refuse("want a path below the directory for output disks, as images/win11.%s", d.Formats[0])
	case !slices.Contains(d.Formats, disk.Format):
		return refuse("platform %s makes disks as %s, not as %s: want a name as images/win11.%s", d.Platform, d.formats(), disk.Format, d.Formats[0])
	case ending != platforms.Raw && ending != disk.Format:
		return refuse("the name ends as that of a %s file, and the format is to be %s", ending, disk.Format)
	case disk.SizeBytes <= 0 || disk.SizeBytes%mib != 0 || disk.SizeBytes > maxDiskBytes:
		return refuse("%d bytes: want a multiple of 1 MiB up to %d TiB", disk.SizeBytes, int64(maxDiskBytes)>>40)
	case disk.Provision != job.ProvisionThin && (disk.Provision != job.ProvisionThick || disk.Format != platforms.Raw):
		return refuse("provision type %s: platform %s makes disks as %s, and raw ones as %s", disk.Provision, d.Platform, job.ProvisionThin, job.ProvisionThick)
	}
	sum := sha256.Sum256([]byte(ce + "/" + disk.Name))
	target := filepath.Join(d.Dir, disk.Name)
	folder, file := filepath.Split(target)
	return Disk{
		OutputDisk: disk,
		Partial:    filepath.Join(folder, "."+ce+"."+hex.EncodeToString(sum[:4])+".partial", file),
		Target:     target,
	}, nil
}

// formats names what the platform makes.
func (d *Disks) formats() string {
	var s []string
	for _, f := range d.Formats {
		s = append(s, string(f))
	}
	return strings.Join(s, ", ")
}

// mayBecome reports why the disk cannot get its name. Of the folders in it, it
// gives those that are not there, outermost first.
func (d *Disks) mayBecome(o Disk) (missing []string, err error) {
	if _, err := os.Lstat(o.Target); err == nil {
		return nil, platforms.Errorf(platforms.Foreign, "output disk %q: there is a file %s", o.Name, o.Target)
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return nil, err
	}
	folder := filepath.Dir(o.Target)
	for ; ; folder = filepath.Dir(folder) {
		st, err := os.Stat(folder)
		if folder != d.Dir && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)) {
			missing = append(missing, folder)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("output disk %q: its folder: %w", o.Name, err)
		}
		if !st.IsDir() {
			return nil, platforms.Errorf(platforms.BadRequest, "output disk %q: %s is no folder", o.Name, folder)
		}
		break
	}
	slices.Reverse(missing)
	if err := cedir.Writable(folder); err != nil {
		return nil, err
	}
	return missing, o.fits(folder)
}

// fits reports why the file system of a folder has no room for the disk.
func (o Disk) fits(folder string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: folder, Err: err}
	}
	want, free := uint64(reserveBytes), st.Bavail*uint64(st.Bsize)
	if o.Provision == job.ProvisionThick {
		want += uint64(o.SizeBytes)
	}
	if free < want {
		return platforms.Errorf(platforms.Full, "output disk %q: the file system of %s has %d MiB free, want %d", o.Name, folder, free/mib, want/mib)
	}
	return nil
}
