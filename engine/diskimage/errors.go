package diskimage

import (
	"errors"
	"io/fs"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// refusal is an error of a library, as a person gets it.
type refusal struct {
	kind   error
	code   job.Code
	remedy string
}

// refusals gives the errors of the libraries their codes. The first one that
// an error is counts: those of a chain come before those of its containers,
// which they wrap.
var refusals = []refusal{
	{chain.ErrParentMissing, job.ImageNotFound, "Put the parent beside the image"},
	{chain.ErrChanged, job.SourceChanged, "Do it again while nobody writes to the image"},
	{chain.ErrMixedContainers, job.UnsupportedDisk, "Put the parent that the image was made from beside it"},
	{chain.ErrParentMismatch, job.DiskCorrupt, "Put the parent that the image was made from beside it; if that was changed, restore it"},
	{chain.ErrCycle, job.DiskCorrupt, "Restore the files of the chain from a copy"},
	{chain.ErrTooDeep, job.UnsupportedDisk, "Merge some of the versions"},
	{chain.ErrUnknownFormat, job.WrongFormat, "Give a VHD or VHDX image, or --raw if it is a raw disk"},
	{vhdx.ErrDirtyLog, job.DiskDirtyLog, "Mount it once on Windows (Mount-VHD) and dismount it"},
	{vhdx.ErrUnsupported, job.UnsupportedDisk, "Convert it with Convert-VHD"},
	{vhd.ErrUnsupported, job.UnsupportedDisk, "Convert it with Convert-VHD"},
	{vhdx.ErrCorrupt, job.DiskCorrupt, "Restore it from a copy; Test-VHD tells more on Windows"},
	{vhdx.ErrNotVHDX, job.DiskCorrupt, "Restore it from a copy"},
	{vhd.ErrCorrupt, job.DiskCorrupt, "Restore it from a copy; Test-VHD tells more on Windows"},
	{vhd.ErrNotVHD, job.DiskCorrupt, "Restore it from a copy"},
	{fs.ErrNotExist, job.ImageNotFound, "Check the name of the file, including its extension"},
}

// Coded gives an error of a chain or of its containers its code and remedy. One
// that has a code keeps it, and others stay as they are.
func Coded(err error) error {
	if err == nil || job.CodeOf(err) != "" {
		return err
	}
	for _, r := range refusals {
		if errors.Is(err, r.kind) {
			return job.Errorf(r.code, r.remedy, "%w", err)
		}
	}
	return err
}
