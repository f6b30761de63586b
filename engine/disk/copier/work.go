package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"imageport/engine/disk"
)

const (
	// zeroBlock is the granularity in bytes at which zeros are found.
	zeroBlock = 64 << 10
	// readThrough is the longest gap in bytes between two parts that is read
	// along: shorter ones cost less than another request.
	readThrough = 64 << 10
)

var zeros [zeroBlock]byte

func isZero(block []byte) bool { return bytes.Equal(block, zeros[:len(block)]) }

// worker takes one piece of work after the other, with one buffer of a unit.
type worker struct {
	src disk.Disk
	dst Target
	// ranger is the target itself, if it can zero ranges.
	ranger       ZeroRanger
	targetIsZero bool
	crc          bool
	track        *tracker
	buf          []byte
}

// run works until there is no more, or an end in between.
func (w *worker) run(ctx context.Context, items <-chan item) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case it, ok := <-items:
			if !ok {
				return nil
			}
			if err := w.do(ctx, it); err != nil {
				return err
			}
		}
	}
}

// do brings the item into the target, into the hash and to account.
func (w *worker) do(ctx context.Context, it item) error {
	var p []byte // nil for a hole
	var sum outcome
	var err error
	if it.parts == nil {
		err = w.zero(ctx, it, &sum)
	} else {
		p = w.buf[:w.track.geo.bytes(it.first, it.end)]
		if sum.read, err = w.read(it.parts, p, w.track.geo.offset(it.first)); err == nil {
			err = w.write(p, w.track.geo.offset(it.first), &sum)
		}
		if w.crc {
			sum.crc = crc32.Checksum(p, castagnoli)
		}
	}
	if err != nil {
		return err
	}
	if it.ready != nil {
		select {
		case <-it.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := w.hash(ctx, it, p); err != nil {
			return err
		}
	}
	state, err := w.track.finish(it, sum)
	if it.next != nil {
		close(it.next)
	}
	if err != nil || state == nil {
		return err
	}
	return w.track.checkpoint(*state)
}

// read fills p, which begins at base on the disk, with the parts and zeros
// between them, and gives the number of bytes that the source was asked for.
func (w *worker) read(parts []part, p []byte, base int64) (int64, error) {
	var total int64
	filled := base
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].off-parts[n-1].end < readThrough {
			n++
		}
		off, end := parts[0].off, parts[n-1].end
		if err := readFull(w.src, p[off-base:end-base], off); err != nil {
			return total, err
		}
		total += end - off
		for _, part := range parts[:n] {
			clear(p[filled-base : part.off-base])
			filled = part.end
		}
		parts = parts[n:]
	}
	clear(p[filled-base:])
	return total, nil
}

// write puts p at off of the target: what is not zero in as few writes as
// possible, zeros only where the target needs them.
func (w *worker) write(p []byte, off int64, sum *outcome) error {
	if !w.targetIsZero && w.ranger == nil {
		return w.writeAt(p, off, sum)
	}
	for at := 0; at < len(p); {
		end := min(at+zeroBlock, len(p))
		zero := isZero(p[at:end])
		for end < len(p) {
			next := min(end+zeroBlock, len(p))
			if isZero(p[end:next]) != zero {
				break
			}
			end = next
		}
		var err error
		switch {
		case !zero:
			err = w.writeAt(p[at:end], off+int64(at), sum)
		case !w.targetIsZero:
			err = w.zeroRange(p[at:end], off+int64(at), sum)
		}
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// zero makes the units of a hole read as zeros in the target.
func (w *worker) zero(ctx context.Context, it item, sum *outcome) error {
	geo := w.track.geo
	if w.crc {
		sum.crc = crcZeros(geo.bytes(it.first, it.end))
	}
	if w.targetIsZero {
		return nil
	}
	off, end := geo.offset(it.first), geo.offset(it.end)
	if w.ranger != nil {
		err := w.ranger.ZeroRange(off, end-off)
		if err == nil {
			sum.zeroed += end - off
			return nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return zeroError(off, end-off, err)
		}
	}
	clear(w.buf)
	for off < end && ctx.Err() == nil {
		n := min(end-off, int64(len(w.buf)))
		if err := w.writeAt(w.buf[:n], off, sum); err != nil {
			return err
		}
		off += n
	}
	return ctx.Err()
}

// zeroRange zeroes the range of p, which holds zeros, by the target's own
// means, or else writes them.
func (w *worker) zeroRange(p []byte, off int64, sum *outcome) error {
	err := w.ranger.ZeroRange(off, int64(len(p)))
	switch {
	case err == nil:
		sum.zeroed += int64(len(p))
		return nil
	case errors.Is(err, errors.ErrUnsupported):
		return w.writeAt(p, off, sum)
	default:
		return zeroError(off, int64(len(p)), err)
	}
}

func zeroError(off, n int64, err error) error {
	return fmt.Errorf("copier: zeroing %d bytes of the target at offset %#x: %w", n, off, err)
}

func (w *worker) writeAt(p []byte, off int64, sum *outcome) error {
	n, err := w.dst.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("copier: writing %d bytes of the target at offset %#x: %w", len(p), off, err)
	}
	sum.written += int64(n)
	return nil
}

// hash takes the bytes of the item into the SHA-256: p, or zeros for a hole.
func (w *worker) hash(ctx context.Context, it item, p []byte) error {
	if p != nil {
		w.track.hash.Write(p)
		return nil
	}
	for n := w.track.geo.bytes(it.first, it.end); n > 0 && ctx.Err() == nil; n -= zeroBlock {
		w.track.hash.Write(zeros[:min(n, zeroBlock)])
	}
	return ctx.Err()
}

// readFull reads a range inside the disk, so less than all is an error.
func readFull(src disk.Disk, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("copier: reading %d bytes of the source at offset %#x: %w", len(p), off, err)
}
