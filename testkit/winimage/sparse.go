package winimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copySparse copies size bytes of src, from srcAt, to dst at dstAt. Holes are
// left out: what dst has there must be zero already.
func copySparse(ctx context.Context, dst *os.File, dstAt int64, src *os.File, srcAt, size int64) error {
	return eachExtent(ctx, src, srcAt, size, func(at, n int64) error {
		if _, err := src.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(dstAt+at-srcAt, io.SeekStart); err != nil {
			return err
		}
		_, err := io.CopyN(dst, src, n) // of two files: the kernel does it
		return err
	})
}

// eachExtent calls do for the parts of src, in those size bytes from at, that
// are not holes.
func eachExtent(ctx context.Context, src *os.File, at, size int64, do func(at, n int64) error) error {
	for end := at + size; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := src.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= end {
			return nil // nothing but a hole to the end
		}
		if err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		hole, err := src.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		at = min(hole, end)
		if err := do(data, at-data); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
	}
	return nil
}
