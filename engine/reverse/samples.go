package reverse

import (
	"bytes"
	"context"
	"io"
	"iter"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
)

const (
	// sampleBytes is what of a disk is compared at one place: a unit of the copy
	// that is missing has no such piece right, but for zeros.
	sampleBytes = 64 << 10
	// maxSamples is how many places are compared, and samplePatience how many
	// are looked at for each where the image has zeros.
	maxSamples     = 16
	samplePatience = 4
	sectorBytes    = 512
)

var zeros [sampleBytes]byte

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// span is a stretch of a disk in bytes.
type span struct{ off, end int64 }

// doneSpans is what a state says is on the disk.
func doneSpans(s copier.State) []span {
	var done []span
	for _, r := range s.Done() {
		done = append(done, span{r.Offset, r.Offset + r.Length})
	}
	return done
}

// dataIn gives what the image stores of the spans, in pieces of at most
// sampleBytes.
func dataIn(src disk.Mapped, within []span) iter.Seq2[span, error] {
	return func(yield func(span, error) bool) {
		at := 0
		for e, err := range src.Extents(0, src.Size()) {
			if err != nil {
				yield(span{}, err)
				return
			}
			if e.Kind != disk.ExtentData {
				continue
			}
			for off, end := e.Offset, e.Offset+e.Length; off < end && at < len(within); {
				if within[at].end <= off {
					at++
					continue
				}
				off = max(off, within[at].off)
				stop := min(end, within[at].end, (off/sampleBytes+1)*sampleBytes)
				if off < stop && !yield(span{off, stop}, nil) {
					return
				}
				off = max(off, stop)
			}
		}
	}
}

// places picks at most maxSamples places, evenly among those that there are, the
// first and the last one included; each with those behind it that may stand in.
func places(src disk.Mapped, within []span) ([][]span, error) {
	count := int64(0)
	for _, err := range dataIn(src, within) {
		if err != nil {
			return nil, err
		}
		count++
	}
	picks := min(count, maxSamples)
	chosen := make([][]span, 0, picks)
	index := int64(0)
	for s, err := range dataIn(src, within) {
		if err != nil {
			return nil, err
		}
		if n := int64(len(chosen)); n < picks && index == n*(count-1)/max(picks-1, 1) {
			chosen = append(chosen, nil)
		}
		if last := len(chosen) - 1; last >= 0 && len(chosen[last]) < samplePatience {
			chosen[last] = append(chosen[last], s)
		}
		index++
	}
	return chosen, nil
}

// verdict is what samples say of a disk.
type verdict int

const (
	// unsaid: the image has nothing but zeros in the places that were looked at.
	unsaid verdict = iota
	holds          // the disk has what the image has
	other          // it has something else
)

// sampled compares what the disk and the image have within the spans. Where
// except is not nil, it clears in a sample what may differ.
func sampled(ctx context.Context, src disk.Mapped, d io.ReaderAt, within []span, except func(off int64, p []byte)) (verdict, error) {
	all, err := places(src, within)
	if err != nil {
		return unsaid, err
	}
	found := unsaid
	want, got := make([]byte, sampleBytes), make([]byte, sampleBytes)
	for _, place := range all {
		for _, s := range place {
			if err := ctx.Err(); err != nil {
				return unsaid, err
			}
			p, q := want[:s.end-s.off], got[:s.end-s.off]
			if err := read(src, p, s.off); err != nil {
				return unsaid, err
			}
			if except != nil {
				except(s.off, p)
			}
			if isZero(p) {
				continue
			}
			if err := read(d, q, s.off); err != nil {
				return unsaid, err
			}
			if except != nil {
				except(s.off, q)
			}
			if !bytes.Equal(p, q) {
				return other, nil
			}
			found = holds
			break
		}
	}
	return found, nil
}

// blank reports whether the disk reads as zeros where nothing of the image was
// written yet, as far as samples tell: each sector is zeros, or the image's own,
// which an earlier try has written.
func blank(ctx context.Context, src disk.Disk, d io.ReaderAt, size int64) (bool, error) {
	const last = maxSamples - 1
	want, got := make([]byte, sampleBytes), make([]byte, sampleBytes)
	for i := range int64(maxSamples) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		off := max(0, size-sampleBytes) / sampleBytes * i / last * sampleBytes
		if i == last {
			off = max(0, size-sampleBytes)
		}
		q := got[:min(sampleBytes, size-off)]
		if err := read(d, q, off); err != nil {
			return false, err
		}
		if isZero(q) {
			continue
		}
		p := want[:len(q)]
		clear(p)
		if off < src.Size() {
			if err := read(src, p[:min(int64(len(p)), src.Size()-off)], off); err != nil {
				return false, err
			}
		}
		for at := 0; at < len(q); at += sectorBytes {
			end := min(at+sectorBytes, len(q))
			if !isZero(q[at:end]) && !bytes.Equal(p[at:end], q[at:end]) {
				return false, nil
			}
		}
	}
	return true, nil
}

// read fills p.
func read(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
