package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"hash/crc32"

	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// verifyFailed is for a file that is not on the share as it was written.
func verifyFailed(format string, args ...any) error {
	return job.Errorf(job.VerifyFailed, "Start the job again; if it fails again, look at the storage of the share", format, args...)
}

// verify opens the file anew, and puts into o what it found.
func (o *Exported) verify(ctx context.Context, store share.Store, sent *sentStore, s *samples, report func(job.Progress)) error {
	step := job.Progress{Step: "verify " + o.Piece.Name, TotalBytes: o.SizeBytes}
	report(step)
	im, err := source.Open(ctx, source.Input{Store: store, Name: o.Piece.Partial, Access: source.Streamed})
	switch code := job.CodeOf(err); {
	case code == job.DiskCorrupt, code == job.WrongFormat, code == job.ImageNotFound:
		return verifyFailed("it cannot be opened: %w", err)
	case err != nil:
		return err
	}
	defer im.Close()
	found := im.File()
	if len(im.Files()) != 1 || found.File.SizeBytes != o.SizeBytes || found.ID != o.ID || im.Size() != o.VirtualSizeBytes {
		return verifyFailed("it has %d bytes, the id %s and a disk of %d bytes; %d, %s and %d were written", found.File.SizeBytes, found.ID, im.Size(), o.SizeBytes, o.ID, o.VirtualSizeBytes)
	}
	if err := im.Sound(ctx, nil); err != nil {
		if job.CodeOf(err) == job.DiskCorrupt {
			return verifyFailed("%w", err)
		}
		return err
	}
	if o.VerifiedBytes, err = s.compare(ctx, im); err != nil {
		return err
	}
	o.BytesRead = im.ReadBytes()
	if sent.keep {
		if err := o.readBack(ctx, store, sent, func(done int64) {
			step.DoneBytes = done
			report(step)
		}); err != nil {
			return err
		}
	}
	// It is published as what was looked at, or not at all.
	o.Piece.File = found.File
	return im.Untouched(ctx)
}

// readBackBytes is read at a time: several requests of the share at once.
const readBackBytes = 8 << 20

// readBack compares all of the file with what was written, and takes its SHA-256.
func (o *Exported) readBack(ctx context.Context, store share.Store, sent *sentStore, done func(int64)) error {
	f, err := store.Open(ctx, o.Piece.Partial)
	if err != nil {
		return err
	}
	defer f.Close()
	var read atomic.Int64
	r := source.Counted(f, &read)
	want, sum := sent.check(), sha256.New()
	buf := make([]byte, min(readBackBytes, o.SizeBytes))
	for off := int64(0); off < o.SizeBytes; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), o.SizeBytes-off)]
		if n, err := r.ReadAt(p, off); n < len(p) {
			if err == nil || err == io.EOF {
				return verifyFailed("it ends at %d of %d bytes", off+int64(n), o.SizeBytes)
			}
			return err
		}
		_, _ = sum.Write(p) // which never fails
		if err := want.next(p); err != nil {
			return err
		}
		off += int64(len(p))
		done(off)
	}
	if err := want.end(); err != nil {
		return err
	}
	o.SHA256 = hex.EncodeToString(sum.Sum(nil))
	o.BytesRead += read.Load()
	o.VerifiedBytes = o.SizeBytes
	return nil
}

// The contents are sampled in pieces of a size in which they are written whole
// or not at all, of which there are so many at most.
const (
	sampleBytes = 64 << 10
	maxSamples  = 64
)

// samples are checksums of some of the pieces that were written, spread over
// the disk, and the same ones in whatever order they were written. The zero
// value has none.
type samples struct {
	mu sync.Mutex
	// pieces are by their offset on the disk in bytes. Of all that were written,
	// they are those whose hash begins with level zeros.
	pieces map[int64]sample
	level  int
}

type sample struct {
	length int
	crc    uint32
}

// note takes some of what is written.
func (s *samples) note(p []byte, off int64) {
	for len(p) > 0 {
		n := min(len(p), int(sampleBytes-off%sampleBytes))
		s.add(p[:n], off)
		p, off = p[n:], off+int64(n)
	}
}

func (s *samples) add(p []byte, off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if levelOf(off) < s.level {
		return
	}
	if s.pieces == nil {
		s.pieces = make(map[int64]sample)
	}
	s.pieces[off] = sample{len(p), crc32.Checksum(p, castagnoli)}
	for len(s.pieces) > maxSamples {
		s.level++
		for off := range s.pieces {
			if levelOf(off) < s.level {
				delete(s.pieces, off)
			}
		}
	}
}

// levelOf is the number of zeros that the hash of a piece begins with: a multiple
// would follow a pattern of the disk.
func levelOf(off int64) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / phi
	return bits.LeadingZeros64(uint64(off/sampleBytes+1) * golden)
}

// compare reads the samples back, in the order of the disk, and gives how many
// bytes they are.
func (s *samples) compare(ctx context.Context, d io.ReaderAt) (int64, error) {
	offsets := make([]int64, 0, len(s.pieces))
	for off := range s.pieces {
		offsets = append(offsets, off)
	}
	slices.Sort(offsets)
	total := int64(0)
	buf := make([]byte, sampleBytes)
	for _, off := range offsets {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		want := s.pieces[off]
		p := buf[:want.length]
		if n, err := d.ReadAt(p, off); n < len(p) {
			return 0, fmt.Errorf("reading %d bytes at offset %d of its disk back: %w", len(p), off, err)
		}
		if crc32.Checksum(p, castagnoli) != want.crc {
			return 0, verifyFailed("its disk does not give back what was written to the %d bytes at offset %d", len(p), off)
		}
		total += int64(len(p))
	}
	return total, nil
}
