package azure

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	sector     = 512
	footerSize = 512
	cookie     = "conectix" // of a VHD's footer
)

// makeFile makes a sparse file.
func makeFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("azure: %w", err)
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// copyFile makes a sparse file of size bytes that begins like another one. It
// reads only where that has data.
func copyFile(to, from string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("azure: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("azure: %w", err)
	}
	err = errors.Join(out.Truncate(size), copyData(out, in, size))
	return errors.Join(err, out.Close())
}

func copyData(out, in *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole up to the end
		}
		if err != nil {
			return fmt.Errorf("azure: %w", err)
		}
		hole, err := in.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("azure: %w", err)
		}
		hole = min(hole, size)
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, hole-data)); err != nil {
			return fmt.Errorf("azure: %w", err)
		}
		at = hole
	}
	return nil
}

// isVHD reports whether the file ends with the footer of a VHD.
func isVHD(path string, size int64) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(cookie))
	_, err = f.ReadAt(b, size-footerSize)
	return err == nil && string(b) == cookie
}
