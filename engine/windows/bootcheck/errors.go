package bootcheck

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imageport/engine/windows/ntfs"
)

// ErrWrong says that the disk is not as it must be. What wraps it names what is
// wrong and where, what was found there, and what should have been.
var ErrWrong = errors.New("the disk does not pass the check")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrWrong, fmt.Errorf(format, args...))
}

// readAt fills p. What lies beyond the end is wrong; what cannot be read is a
// failure of what is below.
func readAt(r io.ReaderAt, p []byte, off int64, what string) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return wrong("%s ends at byte %d, expected %d bytes at %d", what, off+int64(n), len(p), off)
	case isNTFS(err):
		return wrong("%s, byte %d: %w", what, off, err)
	}
	return fmt.Errorf("%s, byte %d: %w", what, off, err)
}

// isNTFS tells the volume's faults from those of the disk below it.
func isNTFS(err error) bool {
	for _, kind := range []error{ntfs.ErrNotNTFS, ntfs.ErrCorrupt, ntfs.ErrNotFound, ntfs.ErrUnsupported} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// fault makes an error of an NTFS volume one of ours.
func fault(err error, format string, args ...any) error {
	err = fmt.Errorf(format+": %w", append(args, err)...)
	if isNTFS(err) {
		return wrong("%w", err)
	}
	return err
}

// pieces calls do with the bytes of r in order, in pieces of which the next
// overwrites the last.
func pieces(ctx context.Context, r io.ReaderAt, size int64, what string, do func(p []byte, off int64) error) error {
	buf := make([]byte, min(1<<20, max(size, 0)))
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), size-off)]
		if err := readAt(r, p, off, what); err != nil {
			return err
		}
		if err := do(p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}
