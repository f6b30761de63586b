package wof

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func TestParseReparse(t *testing.T) {
	for _, c := range []struct {
		name   string
		data   []byte
		want   Algorithm
		err    error
		reason string
	}{
		{"XPRESS4K", words(1, 2, 1, 0), XPRESS4K, nil, ""},
		{"LZX", words(1, 2, 1, 1), LZX, nil, ""},
		{"XPRESS8K", words(1, 2, 1, 2), XPRESS8K, nil, ""},
		{"XPRESS16K, with flags", words(1, 2, 1, 3, 0), XPRESS16K, nil, ""},
		{"WIMBoot", words(1, 1, 2, 0, 0, 0), 0, ErrUnsupported, "in a WIM file (WIMBoot)"},
		{"another provider", words(1, 3, 1, 0), 0, ErrUnsupported, "provider 3"},
		{"another version", words(2, 2, 1, 0), 0, ErrUnsupported, "version 2"},
		{"another version of the provider", words(1, 2, 7, 0), 0, ErrUnsupported, "version 7"},
		{"another algorithm", words(1, 2, 1, 4), 0, ErrUnsupported, "algorithm 4"},
		{"cut short", words(1, 2, 1), 0, ErrCorrupt, "12 bytes"},
		{"nothing", nil, 0, ErrCorrupt, "0 bytes"},
	} {
		got, err := ParseReparse(c.data)
		if got != c.want || !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

// TestRefusals damages the vectors.
func TestRefusals(t *testing.T) {
	content := vectorContent(t)
	for _, c := range []struct {
		name   string
		a      Algorithm
		size   int
		edit   func(b []byte) []byte
		reason string
	}{
		{"no stream", XPRESS4K, 20_000, func(b []byte) []byte { return nil }, "a stream of 0 bytes"},
		{"a table that does not fit", XPRESS4K, 1 << 30, func(b []byte) []byte { return b }, "and their table"},
		{"cut short", XPRESS4K, 20_000, func(b []byte) []byte { return b[:1000] }, "chunk table, entry"},
		{"a chunk that is cut short", XPRESS4K, 20_000, func(b []byte) []byte { return b[:len(b)-200] }, "chunk 4 of 5"},
		{"chunks in disorder", XPRESS4K, 20_000, func(b []byte) []byte {
			b[4], b[5] = b[0], b[1]
			return b
		}, "chunk 1 of 5: WOF data is corrupt: from offset"},
		{"a chunk that is too long", XPRESS4K, 4097, func(b []byte) []byte {
			copy(b, words(5000))
			return b
		}, "5000 bytes at offset 0x4 of the stream, want at most 4096"},
		{"the wrong algorithm", XPRESS8K, 20_000, func(b []byte) []byte { return vector(t, XPRESS4K) }, "chunk 0"},
		{"more symbols than codes", XPRESS16K, 20_000, func(b []byte) []byte {
			copy(b[4:], bytes.Repeat([]byte{0x11}, 40))
			return b
		}, errCode.Error()},
		{"no symbols at all", XPRESS16K, 20_000, func(b []byte) []byte {
			clear(b[4 : 4+256])
			return b
		}, errNoSymbol.Error()},
		{"a block type of zero", LZX, 20_000, func(b []byte) []byte {
			b[1] &= 0x1f
			return b
		}, errBlockType.Error()},
		{"a block that is too long", LZX, 19_000, func(b []byte) []byte { return b }, errLength.Error()},
		{"a block of nothing", LZX, 20_000, func(b []byte) []byte { return (&bitWriter{}).ended(blockVerbatim<<17, 20) }, errLength.Error()},
		{"no bytes for a block", LZX, 20_000, func(b []byte) []byte { return (&bitWriter{}).ended(blockUncompressed<<17|20_000, 20) }, errShort.Error()},
		{"one byte", LZX, 20_000, func(b []byte) []byte { return b[:1] }, errShort.Error()},
		{"half a chunk", LZX, 20_000, func(b []byte) []byte { return b[:len(b)/2] }, "of the content"},
	} {
		stream := c.edit(bytes.Clone(vector(t, c.a)))
		r, err := NewReader(bytes.NewReader(stream), int64(len(stream)), int64(c.size), c.a)
		if err == nil {
			_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := NewReader(bytes.NewReader(nil), 0, 1, 9); !errors.Is(err, ErrUnsupported) {
		t.Errorf("an unknown algorithm: %v", err)
	}
	for _, c := range [][2]int64{{-1, 5}, {5, -1}, {1 << 62, 1<<63 - 1}} {
		if _, err := NewReader(bytes.NewReader(nil), c[0], c[1], XPRESS4K); !errors.Is(err, ErrCorrupt) && c[0] < 1<<60 {
			t.Errorf("a stream of %d bytes for %d: %v", c[0], c[1], err)
		}
	}

	// A damaged chunk does not hide the others; a reader that ends early is
	// not corruption.
	stream := bytes.Clone(vector(t, XPRESS4K))
	copy(stream[16:], bytes.Repeat([]byte{0x11}, 256))
	r := newReader(t, stream, len(content), XPRESS4K)
	p := make([]byte, 4096)
	if _, err := r.ReadAt(p, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the damaged chunk: %v", err)
	}
	if _, err := r.ReadAt(p, 4096); err != nil || !bytes.Equal(p, content[4096:8192]) {
		t.Errorf("the next chunk: %v", err)
	}
	early, err := NewReader(bytes.NewReader(stream[:2000]), int64(len(stream)), int64(len(content)), XPRESS4K)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := early.ReadAt(p, 12_000); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a reader that ends early: %v", err)
	}
}

// ended writes bits and what is left of their word.
func (w *bitWriter) ended(value, n int) []byte {
	w.bits(value, n)
	return w.flush()
}
