package bootconv

import (
	"context"
	"fmt"
	"io"

	"imageport/engine/disk"
	"imageport/engine/disk/fat32"
)

// Apply writes the changes of a plan of this image to out, which shows the
// image's disk: an overlay. The order is that of a disk that could be lost at
// any time, the partition tables last. report is told how many bytes of boot
// files are read, of how many.
func (im *Image) Apply(ctx context.Context, p *Plan, out disk.Writable, report func(done, total int64)) error {
	files := im.espFiles(p)
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
			report(done, total)
			return n, err
		})
	}
	esp := within(out, int64(p.ESP.FirstLBA)*int64(out.SectorSize()), int64(p.ESP.Sectors)*int64(out.SectorSize()))
	if err := fat32.Format(esp, p.fatOptions(), fatFiles(files)); err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	for _, e := range p.edits {
		if _, err := out.WriteAt(e.data, e.offset); err != nil {
			return fmt.Errorf("%s: %w", pathSystem, err)
		}
	}
	if err := p.After.Write(out); err != nil {
		return fmt.Errorf("partition tables: %w", err)
	}
	return nil
}

type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

// window is a part of a writer that nothing is written outside of.
type window struct {
	w         io.WriterAt
	off, size int64
}

func within(w io.WriterAt, off, size int64) window { return window{w, off, size} }

// WriteAt refuses what does not fit: a defect of ours must not reach the next
// partition.
func (w window) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > w.size {
		return 0, fmt.Errorf("write of %d bytes at %d is outside of the %d bytes planned", len(p), off, w.size)
	}
	return w.w.WriteAt(p, w.off+off)
}
