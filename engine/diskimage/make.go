package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/job"
)

// Convert writes the contents of an open image, as its guest sees them, to a
// new image. progress is told how many bytes of how many are done; it is called
// by one goroutine at a time.
func Convert(ctx context.Context, c *chain.Chain, out Output, progress func(done, total int64)) (Made, error) {
	if err := out.Format.validate(c.Size(), c.SectorSize()); err != nil {
		return Made{}, err
	}
	if err := out.admit(ctx, c.Layers()); err != nil {
		return Made{}, err
	}
	var report copier.Report
	fileSize, err := out.write(ctx, c.Size(), c.SectorSize(), func(w writer) (err error) {
		report, err = copier.Copy(ctx, unsynced{w}, c, copier.Options{
			TargetIsZero: true,
			Progress:     func(p copier.Progress) { progress(p.DoneBytes, p.TotalBytes) },
		})
		if err != nil {
			return err
		}
		return c.Unchanged(ctx)
	})
	if err != nil {
		return Made{}, interrupted(ctx, coded(err))
	}
	m := out.made(c.Size(), fileSize)
	m.CopiedBytes, m.ReadBytes = report.WrittenBytes, report.ReadBytes
	return m, nil
}

// Create writes a new image of a disk of that many bytes, all zeros, with
// logical sectors of 512 or 4096 bytes.
func Create(ctx context.Context, out Output, size int64, sector int) (Made, error) {
	if sector != 512 && sector != 4096 {
		return Made{}, job.Errorf(job.BadRequest, "Choose 512 or 4096", "a sector size of %d bytes is not supported", sector)
	}
	if size <= 0 || size%int64(sector) != 0 {
		return Made{}, job.Errorf(job.BadRequest, "Choose another size", "a disk cannot have %d bytes in sectors of %d", size, sector)
	}
	if err := out.Format.validate(size, sector); err != nil {
		return Made{}, err
	}
	if err := out.admit(ctx, nil); err != nil {
		return Made{}, err
	}
	fileSize, err := out.write(ctx, size, sector, func(writer) error { return nil })
	if err != nil {
		return Made{}, interrupted(ctx, coded(err))
	}
	return out.made(size, fileSize), nil
}

// unsynced is an image as the target of a copy: its Finish syncs.
type unsynced struct{ io.WriterAt }

func (unsynced) Sync() error { return nil }

// interrupted makes an error that comes from the end of ctx tell so, whatever
// cause ctx was given.
func interrupted(ctx context.Context, err error) error {
	if end := ctx.Err(); end != nil && !errors.Is(err, end) {
		return fmt.Errorf("%w: %w", end, err)
	}
	return err
}
