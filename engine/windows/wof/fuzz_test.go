package wof

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// seeds gives the first chunks of the vectors of XPRESS or LZX.
func seeds(f *testing.F, lzx bool) {
	for _, a := range algorithms {
		if (a.Algorithm == LZX) != lzx {
			continue
		}
		stream := vector(f, a.Algorithm)
		r := newReader(f, stream, len(vectorContent(f)), a.Algorithm)
		for chunk := range r.chunks {
			start, end, err := r.bounds(chunk)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(stream[start:end], uint16(min(r.chunkSize, r.size-chunk*r.chunkSize)))
		}
	}
}

// checkExpand holds a decoder to its output, to errors of a kind that callers
// know, and to giving the same again after other data.
func checkExpand(t *testing.T, expand func(dst, src []byte) error, src []byte, size, limit int) {
	size %= limit + 1
	dst := bytes.Repeat([]byte{0xa5}, size+16)
	err := expand(dst[:size:size], src)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		t.Errorf("expand: %v", err)
	}
	if !bytes.Equal(dst[size:], bytes.Repeat([]byte{0xa5}, 16)) {
		t.Error("wrote behind the chunk")
	}
	again := make([]byte, size)
	if (expand(again, src) == nil) != (err == nil) || err == nil && !bytes.Equal(again, dst[:size]) {
		t.Error("the second time differs")
	}
}

func FuzzXPRESS(f *testing.F) {
	seeds(f, false)
	f.Add(specificationExample(f), uint16(300))
	x := new(xpress)
	f.Fuzz(func(t *testing.T, src []byte, size uint16) { checkExpand(t, x.expand, src, int(size), 16<<10) })
}

func FuzzLZX(f *testing.F) {
	seeds(f, true)
	w := new(lzxWriter)
	w.block(blockAligned, 15)
	w.literals([]byte("0123456789"))
	w.match(4, 1, 5, 3)
	w.uncompressed([]byte("odd"), 1, 2, 3)
	f.Add(w.flush(), uint16(18))
	x := new(lzx)
	f.Fuzz(func(t *testing.T, src []byte, size uint16) { checkExpand(t, x.expand, src, int(size), lzxWindow) })
}

// FuzzReader reads streams whose table, chunks and sizes are anything.
func FuzzReader(f *testing.F) {
	for _, a := range algorithms {
		f.Add(vector(f, a.Algorithm), words(1, 2, 1, uint32(a.Algorithm)), int64(len(vectorContent(f))))
	}
	f.Add(make([]byte, 100), words(1, 2, 1, 1), int64(1)<<33)
	f.Fuzz(func(t *testing.T, stream, reparse []byte, size int64) {
		known := func(err error) {
			if err != nil && err != io.EOF && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
				t.Error(err)
			}
		}
		a, err := ParseReparse(reparse)
		known(err)
		if err != nil {
			return
		}
		r, err := NewReader(bytes.NewReader(stream), int64(len(stream)), size, a)
		known(err)
		if err != nil {
			return
		}
		p := make([]byte, 10_000)
		for _, off := range []int64{0, size / 2, size - 1, size - 9000, size} {
			n, err := r.ReadAt(p, max(off, 0))
			known(err)
			if n > len(p) || err == nil && n < len(p) {
				t.Errorf("read %d, %v", n, err)
			}
		}
	})
}
