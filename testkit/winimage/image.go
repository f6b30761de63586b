package winimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"

	"imageport/engine/disk/vhdx"
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
	if err := i.copyPart(ctx, 0, i.Spec.SizeBytes, path); err != nil {
		return Image{}, err
	}
	i.Path = path
	return i, nil
}

// CopyPartition copies what a partition holds, holes and all, to a new file.
func (i Image) CopyPartition(ctx context.Context, p Partition, path string) error {
	return i.copyPart(ctx, p.StartBytes, p.SizeBytes, path)
}

func (i Image) copyPart(ctx context.Context, at, size int64, path string) error {
	in, err := os.Open(i.Path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	err = out.Truncate(size)
	if err == nil {
		err = copySparse(ctx, out, 0, in, at, size)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("winimage: copy %s: %w", i.Path, err)
	}
	return nil
}

// Subformat is how a VHDX allocates its blocks.
type Subformat string

const (
	Dynamic Subformat = "dynamic"
	Fixed   Subformat = "fixed"
)

// VHDX converts the disk to a VHDX file. Blocks are 2 MiB, as PVS has them.
//
// Where qemu-img can, it does so: a writer that is not ours. It knows no logical
// sectors of 4096 bytes; a VHDX with them is the product's own.
func (i Image) VHDX(ctx context.Context, path string, subformat Subformat) error {
	if i.Spec.SectorSize != 512 {
		return i.ownVHDX(ctx, path, subformat)
	}
	return run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "vhdx",
		"-o", "block_size=2M,subformat="+string(subformat), i.Path, path)
}

func (i Image) ownVHDX(ctx context.Context, path string, subformat Subformat) error {
	opt := vhdx.Options{
		SizeBytes: i.Spec.SizeBytes, BlockSize: 2 * mib,
		LogicalSectorSize: i.Spec.SectorSize, PhysicalSectorSize: 4096,
		FileWriteGUID: uuid.New(), DataWriteGUID: uuid.New(), VirtualDiskID: uuid.New(),
		Creator: "imageport winimage",
	}
	switch subformat {
	case Dynamic:
		opt.Type = vhdx.Dynamic
	case Fixed:
		opt.Type = vhdx.Fixed
	default:
		return fmt.Errorf("winimage: subformat %q", subformat)
	}
	in, err := os.Open(i.Path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer out.Close()
	w, err := vhdx.Create(out, opt)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	if err := eachExtent(ctx, in, 0, i.Spec.SizeBytes, func(at, n int64) error {
		_, err := io.Copy(io.NewOffsetWriter(w, at), io.NewSectionReader(in, at, n))
		return err
	}); err != nil {
		return err
	}
	if _, err := w.Finish(); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	return out.Close()
}
