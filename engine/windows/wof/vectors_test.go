package wof

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "make testdata/*.wof and testdata/content anew")

// vector is a stream that wimlib has made of vectorContent, by algorithm: it
// holds the decoders to the format even where wimlib changes.
func vector(t testing.TB, a Algorithm) []byte {
	t.Helper()
	b, err := os.ReadFile(vectorName(a))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vectorContent is what the vectors expand to.
func vectorContent(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/content")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeVectorContent has five chunks of 4 KiB, or one of the larger ones, with
// literals, references near and far, long runs, calls and noise.
func makeVectorContent() []byte {
	b := code(3, 9000)
	b = append(b, bytes.Repeat([]byte{0}, 1700)...)
	b = append(b, random(3, 900)...)
	b = append(b, b[200:3000]...)
	return append(b, code(4, 20_000-len(b))...)
}

func vectorName(a Algorithm) string { return "testdata/" + strings.ToLower(a.String()) + ".wof" }

func TestVectors(t *testing.T) {
	if *update {
		if err := os.WriteFile("testdata/content", makeVectorContent(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := vectorContent(t)
	for _, a := range algorithms {
		if *update {
			stream := capture(t, map[string][]byte{"vector": want}, a.compress, a.chunk)["vector"]
			if err := os.WriteFile(vectorName(a.Algorithm), stream, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(want))
		if _, err := newReader(t, vector(t, a.Algorithm), len(want), a.Algorithm).ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: differs at %d of %d, %v", a, firstDifference(got, want), len(want), err)
		}
	}
}

// specificationExample is the second example of [MS-XCA] 3.2: the letters abc a
// hundred times.
func specificationExample(t testing.TB) []byte {
	t.Helper()
	table := make([]byte, 256)
	table[0x30], table[0x31] = 0x30, 0x23 // a, b and c
	table[0x80], table[0x8f] = 0x02, 0x20 // 256 (the end), and the match
	data, err := hex.DecodeString("a8dc0000ff2601")
	if err != nil {
		t.Fatal(err)
	}
	return append(table, data...)
}

func TestSpecificationExample(t *testing.T) {
	got, want := make([]byte, 300), bytes.Repeat([]byte("abc"), 100)
	if err := new(xpress).expand(got, specificationExample(t)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDamage decodes every vector's first chunk cut short, and with bits turned
// over: what comes is an error, or content that is wrong but whole.
func TestDamage(t *testing.T) {
	for _, a := range algorithms {
		stream := vector(t, a.Algorithm)
		r := newReader(t, stream, len(vectorContent(t)), a.Algorithm)
		start, end, err := r.bounds(0)
		if err != nil {
			t.Fatal(err)
		}
		dst, chunk := make([]byte, min(r.chunkSize, r.size)), stream[start:end]
		decode := func(src []byte) bool {
			err := r.expand(dst, src)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", a, err)
			}
			return err == nil
		}
		if !decode(chunk) {
			t.Errorf("%s: the chunk as it is", a)
		}
		for n := range len(chunk) - 4 { // the last word may be padding
			if decode(chunk[:n]) {
				t.Errorf("%s: decoded from %d of %d bytes", a, n, len(chunk))
			}
		}
		for bit := range 8 * min(len(chunk), 600) {
			damaged := bytes.Clone(chunk)
			damaged[bit/8] ^= 1 << (bit % 8)
			decode(damaged)
		}
	}
}
