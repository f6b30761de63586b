package gce

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// copyFile makes a sparse file of that size, with the content of another one if from
// is not "".
func copyFile(to, from string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	w, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Truncate(size); err != nil || from == "" {
		return err
	}
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	for at := int64(0); ; {
		begin, err := r.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return w.Close() // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := r.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(w, begin), io.NewSectionReader(r, begin, end-begin)); err != nil {
			return err
		}
		at = end
	}
}

// unpack makes a sparse file of disk.raw in a tarball, as Compute Engine imports
// images, and gives its size. The tarball has to be sparse as GNU tar's old format
// has it ("tar --format=oldgnu -S").
func unpack(to, tarball string) (size int64, err error) {
	f, err := os.Open(tarball)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return 0, fmt.Errorf("the object is no gzip: %w", err)
	}
	header := make([]byte, tarBlock)
	if _, err := io.ReadFull(zip, header); err != nil {
		return 0, fmt.Errorf("the object is no tarball: %w", err)
	}
	name, _, _ := strings.Cut(string(header[:100]), "\x00")
	parts, size, err := sparseParts(header)
	if err != nil || name != "disk.raw" || size <= 0 || size%gib != 0 || size > maxDiskGB*gib {
		return 0, fmt.Errorf("the tarball's first file is %q of %d bytes, want disk.raw of whole GiB: %w", name, size, err)
	}
	if err := copyFile(to, "", size); err != nil {
		return 0, err
	}
	w, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	for _, p := range parts {
		if p.size > size || p.at > size-p.size {
			return 0, fmt.Errorf("the tarball has %d bytes for offset %d of disk.raw", p.size, p.at)
		}
		if _, err := io.CopyN(io.NewOffsetWriter(w, p.at), zip, p.size); err != nil {
			return 0, fmt.Errorf("the tarball ends within the %d bytes for offset %d of disk.raw: %w", p.size, p.at, err)
		}
	}
	return size, w.Close()
}

const tarBlock = 512

// part is where the next bytes of a tarball go.
type part struct{ at, size int64 }

// sparseParts reads the header of a file (GNU tar manual, "Basic Tar Format", struct
// oldgnu_header).
func sparseParts(h []byte) (parts []part, size int64, err error) {
	octal := func(at int) int64 {
		text := strings.Trim(string(h[at:at+12]), " \x00")
		n, parseErr := strconv.ParseInt(text, 8, 64)
		if text != "" && (parseErr != nil || n < 0) {
			err = fmt.Errorf("at offset %d of the header is %q", at, text)
		}
		return n
	}
	const sparseAt, sparseLen, sparseMax, extended, realSize = 386, 24, 4, 482, 483
	if h[156] != 'S' {
		return nil, 0, fmt.Errorf("a file of the type %q, which is not sparse", h[156])
	}
	if h[extended] != 0 {
		return nil, 0, errors.New("a file of more than four parts is not read here")
	}
	for i := range sparseMax {
		if n := octal(sparseAt + i*sparseLen + 12); n > 0 {
			parts = append(parts, part{octal(sparseAt + i*sparseLen), n})
		}
	}
	return parts, octal(realSize), err
}
