package export

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// contents is a disk, or a CD-ROM, in memory: zeros but for its parts.
type contents struct {
	size  int64
	parts []part // in order, apart from each other
}

// part is a piece of contents that may differ from zeros.
type part struct {
	off  int64
	data []byte
}

// Size is the size in bytes.
func (c *contents) Size() int64 { return c.size }

// ReadAt follows io.ReaderAt.
func (c *contents) ReadAt(p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), c.size-off)))
	clear(p[:n])
	for _, part := range c.parts {
		if from := max(off, part.off); from < min(off+int64(n), part.end()) {
			copy(p[from-off:n], part.data[from-part.off:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt follows io.WriterAt. All of p must lie in one part.
func (c *contents) WriteAt(p []byte, off int64) (int, error) {
	for _, part := range c.parts {
		if off >= part.off && off+int64(len(p)) <= part.end() {
			return copy(part.data[off-part.off:], p), nil
		}
	}
	return 0, fmt.Errorf("export: no room for %d bytes at offset %d", len(p), off)
}

func (p part) end() int64 { return p.off + int64(len(p.data)) }

// reader reads everything.
func (c *contents) reader() io.Reader { return io.NewSectionReader(c, 0, c.size) }

// holds checks that the UKI lies at an offset, all of it and in one piece.
func (c *contents) holds(u *UKI, off int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, off, u.size)); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if found := [sha256.Size]byte(h.Sum(nil)); found != u.digest {
		return fmt.Errorf("export: at offset %d of the disk: found %d bytes of SHA-256 %x, expected the UKI's %x: it changed, or does not lie there in one piece: %w",
			off, u.size, found, u.digest, ErrUKI)
	}
	return nil
}
