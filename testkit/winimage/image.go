package winimage

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Image is a disk that was made.
type Image struct {
	Path       string // a raw, sparse file
	Spec       Spec   // with the defaults put in
	Partitions []Partition
}

// Partition gives the partition with this role, if the disk has one.
func (i Image) Partition(role Role) (Partition, bool) {
	for _, p := range i.Partitions {
		if p.Role == role {
			return p, true
		}
	}
	return Partition{}, false
}

// Clone copies the disk, holes and all, to a new file that may be written to.
func (i Image) Clone(ctx context.Context, path string) (Image, error) {
	in, err := os.Open(i.Path)
	if err != nil {
		return Image{}, fmt.Errorf("winimage: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return Image{}, fmt.Errorf("winimage: %w", err)
	}
	err = out.Truncate(i.Spec.SizeBytes)
	if err == nil {
		err = copySparse(ctx, out, 0, in, 0, i.Spec.SizeBytes)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return Image{}, fmt.Errorf("winimage: clone: %w", err)
	}
	i.Path = path
	return i, nil
}

// Subformat is how a VHDX allocates its blocks.
type Subformat string

const (
	Dynamic Subformat = "dynamic"
	Fixed   Subformat = "fixed"
)

// VHDX converts the disk to a VHDX file with qemu-img, so with a writer that is
// not ours. Blocks are 2 MiB, as PVS has them.
func (i Image) VHDX(ctx context.Context, path string, subformat Subformat) error {
	return run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "vhdx",
		"-o", "block_size=2M,subformat="+string(subformat), i.Path, path)
}
