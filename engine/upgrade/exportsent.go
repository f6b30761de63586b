package upgrade

import (
	"bytes"
	"cmp"
	"context"
	"hash/crc32"
	"slices"
	"sync"

	"imageport/engine/share"
)

// sentStore is a store that knows what was written to the one file that is made
// in it: how much, and with keep also what, by checksums of 24 bytes for each
// write of up to 1 MiB.
type sentStore struct {
	share.Store
	keep bool

	mu     sync.Mutex
	total  int64
	writes []write
}

// write is one write to a file.
type write struct {
	off, length int64
	crc         uint32 // CRC-32C
}

// CreateExcl implements share.Store.
func (s *sentStore) CreateExcl(ctx context.Context, name string) (share.WritableFile, error) {
	f, err := s.Store.CreateExcl(ctx, name)
	if err != nil {
		return nil, err
	}
	return sentFile{f, s}, nil
}

// bytes is how much was written.
func (s *sentStore) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

type sentFile struct {
	share.WritableFile
	store *sentStore
}

func (f sentFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WritableFile.WriteAt(p, off)
	w := write{off: off, length: int64(n)}
	if f.store.keep {
		w.crc = crc32.Checksum(p[:n], castagnoli)
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.store.total += w.length
	if f.store.keep && n > 0 {
		f.store.writes = append(f.store.writes, w)
	}
	return n, err
}

// check compares the file with what was written, given it piece by piece from
// the beginning.
func (s *sentStore) check() *fileCheck {
	slices.SortFunc(s.writes, func(a, b write) int { return cmp.Compare(a.off, b.off) })
	return &fileCheck{left: s.writes}
}

// fileCheck is at pos of the file: within the first write that is left, or in
// front of it, where nothing was written.
type fileCheck struct {
	left []write
	pos  int64
	crc  uint32 // of the first write, as far as it was read
}

var zeroBlock [64 << 10]byte

// next compares the next piece of the file.
func (c *fileCheck) next(p []byte) error {
	for len(p) > 0 {
		within := len(c.left) > 0 && c.pos >= c.left[0].off
		end := c.pos + int64(len(p))
		switch {
		case within:
			end = min(end, c.left[0].off+c.left[0].length)
		case len(c.left) > 0:
			end = min(end, c.left[0].off)
		}
		n := end - c.pos
		if within {
			c.crc = crc32.Update(c.crc, castagnoli, p[:n])
		} else if err := c.zeros(p[:n]); err != nil {
			return err
		}
		c.pos, p = end, p[n:]
		if w := c.left; within && end == w[0].off+w[0].length {
			if c.crc != w[0].crc {
				return verifyFailed("the %d bytes at offset %d are not those that were written", w[0].length, w[0].off)
			}
			c.left, c.crc = w[1:], 0
			if len(w) > 1 && w[1].off < end {
				return verifyFailed("the bytes at offset %d were written twice", w[1].off)
			}
		}
	}
	return nil
}

// zeros refuses anything else where nothing was written.
func (c *fileCheck) zeros(p []byte) error {
	for at := 0; at < len(p); at += len(zeroBlock) {
		part := p[at:min(at+len(zeroBlock), len(p))]
		if !bytes.Equal(part, zeroBlock[:len(part)]) {
			return verifyFailed("there are other bytes than zeros behind offset %d, where nothing was written", c.pos+int64(at))
		}
	}
	return nil
}

// end refuses a file that ends before what was written to it.
func (c *fileCheck) end() error {
	if len(c.left) > 0 {
		return verifyFailed("it ends at %d, and there were %d bytes written at offset %d", c.pos, c.left[0].length, c.left[0].off)
	}
	return nil
}
