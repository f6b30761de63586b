package bootconv

import (
	"context"
	"fmt"
	"io"
	"slices"

	"imageport/engine/disk"
	"imageport/engine/disk/fat32"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Apply writes the changes of a plan of this image to out, which shows the
// image's disk: an overlay. The order is that of a disk that could be lost at
// any time, the partition tables last. shrinker is that of the plan. report is
// told the step, and how many bytes of how many are done, where that is known.
func (im *Image) Apply(ctx context.Context, p *Plan, out disk.Writable, shrinker Shrinker, report func(step string, done, total int64)) error {
	for _, s := range p.Shrinks {
		w := window{out, s.volume.offset(), s.BeforeBytes}
		if err := shrinker.Shrink(ctx, w, s.BeforeBytes, s.AfterBytes, func(done, total int64) {
			report(fmt.Sprintf("shrink %s", s.volume), done, total)
		}); err != nil {
			return job.At(s.volume.String(), err)
		}
	}
	if err := p.writeESP(ctx, out, report); err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	for _, e := range p.edits {
		if err := im.edit(p, e, out); err != nil {
			return err
		}
	}
	if err := p.table.Write(guarded{out, p.tables(out.Size())}); err != nil {
		return fmt.Errorf("partition tables: %w", err)
	}
	return nil
}

// writeESP makes the EFI system partition.
func (p *Plan) writeESP(ctx context.Context, out disk.Writable, report func(step string, done, total int64)) error {
	files := p.espFiles()
	var done, total int64
	for _, f := range files {
		total += f.Size
	}
	for i, f := range files {
		files[i].data = readerAt(func(b []byte, off int64) (int, error) {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			n, err := f.data.ReadAt(b, off)
			done += int64(n)
			report("read boot files", done, total)
			return n, err
		})
	}
	sector := int64(out.SectorSize())
	return fat32.Format(window{out, int64(p.ESP.FirstLBA) * sector, int64(p.ESP.Sectors) * sector}, p.fatOptions(), fatFiles(files))
}

// edit gives a file of C: its new contents. If C: has shrunk, the file may lie
// elsewhere than it did.
func (im *Image) edit(p *Plan, e fileEdit, out disk.Writable) error {
	volume, allowed := im.windows.NTFS, p.Writes
	if slices.ContainsFunc(p.Shrinks, func(s Shrink) bool { return s.volume == im.windows }) {
		var err error
		if volume, err = ntfs.Open(section(out, im.windows), im.windows.size()); err != nil {
			return volumeError(im.windows, err)
		}
	} else {
		allowed = slices.DeleteFunc(slices.Clone(p.Writes), func(w Write) bool { return w.What != e.path })
	}
	changes, err := p.changes(volume, e)
	if err != nil {
		return volumeError(im.windows, err)
	}
	w := guarded{out, allowed}
	for _, c := range changes {
		if _, err := w.WriteAt(c.Data, im.windows.offset()+c.Offset); err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
	}
	return nil
}

// tables are the ranges of the partition tables.
func (p *Plan) tables(size int64) []Write {
	sector := int64(p.table.SectorSize)
	first, last := int64(p.table.FirstUsable())*sector, int64(p.table.LastUsable()+1)*sector
	return []Write{{"backup partition table", last, size - last}, {"partition table", 0, first}}
}

type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

// section reads a volume.
func section(d disk.Disk, v *volume) *io.SectionReader { return disk.Section(d, v.offset(), v.size()) }

// guarded lets nothing be written outside of ranges: a defect of ours must not
// reach what the plan does not name.
type guarded struct {
	w       io.WriterAt
	allowed []Write
}

func (g guarded) WriteAt(b []byte, off int64) (int, error) {
	for _, r := range g.allowed {
		if off >= r.Offset && off+int64(len(b)) <= r.Offset+r.Length {
			return g.w.WriteAt(b, off)
		}
	}
	return 0, job.Errorf(job.Internal, "Report it; nothing was written", "a write of %d bytes at byte %d is outside of what the plan names", len(b), off)
}

// window is a part of a disk, outside of which nothing is read or written.
type window struct {
	disk      ReadWriterAt
	off, size int64
}

func (w window) ReadAt(b []byte, off int64) (int, error) {
	return io.NewSectionReader(w.disk, w.off, w.size).ReadAt(b, off)
}

func (w window) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(b)) > w.size {
		return 0, job.Errorf(job.Internal, "Report it; nothing was written", "a write of %d bytes at byte %d is outside of the %d bytes planned", len(b), off, w.size)
	}
	return w.disk.WriteAt(b, w.off+off)
}
