package site

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"imageport/engine/disk"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// Flatten writes the disk that a guest sees of a result to a raw, sparse file.
func (s *Site) Flatten(ctx context.Context, result job.Result, raw string) (err error) {
	var merged disk.Disk
	for _, name := range []string{result.Parent.File, result.OutputFile} {
		f, err := os.Open(filepath.Join(s.Store, name))
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		im, err := vhdx.Open(f, info.Size())
		if err != nil {
			return err
		}
		if merged, err = im.Disk(merged); err != nil {
			return err
		}
	}
	out, err := os.Create(raw)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(merged.Size()); err != nil {
		return err
	}
	b, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < merged.Size(); off += int64(len(b)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := merged.ReadAt(b[:min(int64(len(b)), merged.Size()-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.Equal(b[:n], zeros[:n]) {
			continue
		}
		if _, err := out.WriteAt(b[:n], off); err != nil {
			return err
		}
	}
	return nil
}
