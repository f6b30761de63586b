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
	end := srcAt + size
	for at := srcAt; at < end; {
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
		n := min(hole, end) - data
		if _, err := src.Seek(data, io.SeekStart); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		if _, err := dst.Seek(dstAt+data-srcAt, io.SeekStart); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		if _, err := io.CopyN(dst, src, n); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		at = data + n
	}
	return nil
}
