package diskimage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/container"
	"imageport/engine/disk/copier"
	"imageport/job"
)

// Convert writes the contents of an open image, as its guest sees them, to a
// new image. progress is told how many bytes of how many are done, of the disk
// and then, if the output has a parent, of its file; it is called by one
// goroutine at a time.
func Convert(ctx context.Context, c *chain.Chain, out Output, progress func(done, total int64)) (Made, error) {
	m, err := convert(ctx, c, out, progress)
	if err != nil {
		return Made{}, interrupted(ctx, Coded(err))
	}
	return m, nil
}

func convert(ctx context.Context, c *chain.Chain, out Output, progress func(done, total int64)) (Made, error) {
	src := source{c, c.Size(), c.SectorSize()}
	if err := out.validate(src.size, src.sector); err != nil {
		return Made{}, err
	}
	if err := out.admit(ctx, src.layers()); err != nil {
		return Made{}, err
	}
	if err := sound(ctx, c); err != nil {
		return Made{}, err
	}
	var free freeSpace
	if out.UsedOnly {
		var err error
		if free, err = findFree(ctx, c); err != nil {
			return Made{}, err
		}
	}
	var report copier.Report
	id := out.Identity // which also names the incomplete file
	done, err := out.write(ctx, src, func(w writer, opt copier.Options) (err error) {
		opt.CRC, opt.SHA256 = true, out.SHA256
		opt.Progress = func(p copier.Progress) { progress(p.DoneBytes, p.TotalBytes) }
		if out.UsedOnly {
			opt.Skip = free.ranges()
		}
		to := target(w)
		if out.Written != nil {
			to = shown{to, out.Written}
		}
		if report, err = copier.Copy(ctx, to, c, opt); err != nil {
			return err
		}
		if err := c.Unchanged(ctx); err != nil || out.IDOf == nil {
			return err
		}
		id.ID = out.IDOf(report.CRC32C)
		return identify(w, id)
	}, progress)
	if err != nil {
		return Made{}, err
	}
	m := out.made(src.size, done)
	if out.IDOf != nil {
		m.ID = id.ID.String()
	}
	m.Warnings = append(m.Warnings, free.warnings...)
	m.CopiedBytes, m.ReadBytes = report.WrittenBytes, report.ReadBytes
	m.SkippedBytes, m.ResumedBytes = report.SkippedBytes, report.ResumedBytes
	m.CRC32C, m.SHA256 = fmt.Sprintf("%08x", report.CRC32C), hex.EncodeToString(report.SHA256)
	return m, nil
}

// sound refuses an image whose tables contradict themselves, such as by two
// blocks in one place: reading it would give somebody else's data. What Check
// finds besides does not matter to a reader.
func sound(ctx context.Context, c *chain.Chain) error {
	var broken error
	err := c.Check(ctx, func(layer int, p container.Problem) {
		if broken == nil && !p.Readable {
			broken = fmt.Errorf("%s: %w", c.Layers()[layer].Name, &p)
		}
	})
	return errors.Join(err, broken)
}

// Create writes a new image of a disk of that many bytes, all zeros, with
// logical sectors of 512 or 4096 bytes; or, if it has a parent, an image whose
// disk is that of the parent: size and sector are then its own.
func Create(ctx context.Context, out Output, size int64, sector int) (Made, error) {
	m, err := create(ctx, out, source{size: size, sector: sector})
	if err != nil {
		return Made{}, interrupted(ctx, Coded(err))
	}
	return m, nil
}

func create(ctx context.Context, out Output, src source) (Made, error) {
	if out.Device != "" || out.Resume || out.SHA256 || out.UsedOnly || out.IDOf != nil || out.Written != nil {
		return Made{}, job.Errorf(job.BadRequest, "Leave it out", "an option of a conversion has no meaning for an empty disk")
	}
	if src.sector != 512 && src.sector != 4096 {
		return Made{}, job.Errorf(job.BadRequest, "Choose 512 or 4096", "a sector size of %d bytes is not supported", src.sector)
	}
	if src.size <= 0 || src.size%int64(src.sector) != 0 {
		return Made{}, job.Errorf(job.BadRequest, "Choose another size", "a disk cannot have %d bytes in sectors of %d", src.size, src.sector)
	}
	if err := out.validate(src.size, src.sector); err != nil {
		return Made{}, err
	}
	if err := out.admit(ctx, nil); err != nil {
		return Made{}, err
	}
	done, err := out.write(ctx, src, func(writer, copier.Options) error { return nil }, nil)
	if err != nil {
		return Made{}, err
	}
	return out.made(src.size, done), nil
}

// target is a writer as the target of a copy.
func target(w writer) copier.Target {
	if t, ok := w.(copier.Target); ok {
		return t
	}
	return unsynced{w}
}

// shown is a target that shows what is written to it.
type shown struct {
	copier.Target
	show func(p []byte, off int64)
}

func (s shown) WriteAt(p []byte, off int64) (int, error) {
	s.show(p, off)
	return s.Target.WriteAt(p, off)
}

// unsynced is an image whose Finish syncs.
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
