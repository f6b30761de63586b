package wof

import (
	"bytes"
	"io"
	"math/rand"
	"sync"
	"testing"
)

// TestContents decodes what wimlib, a compressor apart from ours, has made of
// many contents, in one go and at random.
func TestContents(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			all := contents(t)
			streams := capture(t, all, a.compress, a.chunk)
			for name, stream := range capture(t, all, a.compress+":100", a.chunk) { // another search for matches
				streams[name+", with effort"] = stream
				all[name+", with effort"] = all[name]
			}
			for _, name := range []string{"program", "code", "text", "more text", "zeros", "nearly noise", "two symbols", "half noise", "skewed", "period 1", "period 7"} {
				if streams[name] == nil {
					t.Errorf("%s: not compressed; the test wants it so", name)
				}
			}
			for name, stream := range streams {
				want := all[name]
				r := newReader(t, stream, len(want), a.Algorithm)
				got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(len(want))+1))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: differs at %d of %d, %v", name, firstDifference(got, want), len(want), err)
					continue
				}
				checkRandomReads(t, name, r, want)
			}
			t.Logf("%d of %d contents compressed", len(streams), len(all))
		})
	}
}

func checkRandomReads(t *testing.T, name string, r io.ReaderAt, want []byte) {
	t.Helper()
	random := rand.New(rand.NewSource(1))
	for range 40 {
		off := random.Intn(len(want))
		p := make([]byte, random.Intn(70_000))
		n, err := r.ReadAt(p, int64(off))
		expected := want[off:min(off+len(p), len(want))]
		if !bytes.Equal(p[:n], expected) || (n < len(p)) != (err == io.EOF) || err != nil && err != io.EOF {
			t.Errorf("%s: %d bytes at %d: read %d, %v", name, len(p), off, n, err)
		}
	}
	for _, off := range []int{len(want), len(want) + 1} {
		if n, err := r.ReadAt(make([]byte, 1), int64(off)); n != 0 || err != io.EOF {
			t.Errorf("%s: at %d: read %d, %v", name, off, n, err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Errorf("%s: read before the start", name)
	}
}

func TestEmptyContent(t *testing.T) {
	r := newReader(t, nil, 0, XPRESS4K)
	if n, err := r.ReadAt(make([]byte, 10), 0); n != 0 || err != io.EOF || r.Size() != 0 {
		t.Errorf("read %d, %v, size %d", n, err, r.Size())
	}
}

// counting counts what a reader costs the stream below it.
type counting struct {
	io.ReaderAt
	reads, bytes int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	c.bytes += len(p)
	return c.ReaderAt.ReadAt(p, off)
}

// TestReads bounds the number of reads, each of which may be a round trip to a
// file server, for a consumer that reads on in small steps.
func TestReads(t *testing.T) {
	t.Parallel()
	content := code(1, 2<<20)
	stream := capture(t, map[string][]byte{"code": content}, "XPRESS", 4096)["code"]
	c := &counting{ReaderAt: bytes.NewReader(stream)}
	r, err := NewReader(c, int64(len(stream)), int64(len(content)), XPRESS4K)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1000)
	for off := 0; off < len(content); off += len(p) {
		n, err := r.ReadAt(p, int64(off))
		if err != nil && err != io.EOF || !bytes.Equal(p[:n], content[off:off+n]) {
			t.Fatal(off, n, err)
		}
	}
	t.Logf("%d bytes in %d: %d reads of %d bytes", len(content), len(stream), c.reads, c.bytes)
	if limit := len(stream)/(readAhead*9/10) + 3; c.reads > limit || c.bytes > len(stream)*5/4 {
		t.Errorf("%d reads of %d bytes, want at most %d reads", c.reads, c.bytes, limit)
	}
}

// huge is the stream of a content of equal chunks, with 8 bytes a table entry.
type huge struct {
	chunks    int64
	chunk     []byte
	last      []byte
	tableSize int64
}

func (h huge) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		at := off + int64(i)
		switch {
		case at < h.tableSize:
			start := (at/8 + 1) * int64(len(h.chunk))
			p[i] = byte(start >> (8 * (at % 8)))
		case (at-h.tableSize)/int64(len(h.chunk)) < h.chunks-1:
			p[i] = h.chunk[(at-h.tableSize)%int64(len(h.chunk))]
		default:
			at -= h.tableSize + (h.chunks-1)*int64(len(h.chunk))
			if at >= int64(len(h.last)) {
				return i, io.EOF
			}
			p[i] = h.last[at]
		}
	}
	return len(p), nil
}

// TestHugeContent reads at both sides of 4 GiB, where table entries grow.
func TestHugeContent(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		content := text(5, a.chunk)
		stream := capture(t, map[string][]byte{"chunk": content}, a.compress, a.chunk)["chunk"]
		if stream == nil {
			t.Fatal("the test wants a chunk that is compressed")
		}
		for _, tail := range []int64{0, 5} {
			size := int64(1)<<32 + tail
			chunks := (size-1)/int64(a.chunk) + 1
			h := huge{chunks, stream, stream, 8 * (chunks - 1)}
			if tail > 0 {
				h.last = []byte("short")
			}
			r, err := NewReader(h, h.tableSize+(chunks-1)*int64(len(stream))+int64(len(h.last)), size, a.Algorithm)
			if err != nil {
				t.Fatal(err)
			}
			for _, off := range []int64{0, 1<<31 - 7, 1<<32 - 99} {
				want := append(bytes.Clone(content[off%int64(a.chunk):]), content...)
				if off > 1<<31 {
					want = append(content[off%int64(a.chunk):len(content):len(content)], "short"[:tail]...)
				}
				got := make([]byte, len(want))
				if n, err := r.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes, at %d: read %d, %v", a, size, off, n, err)
				}
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	content := text(9, 400_000)
	stream := capture(t, map[string][]byte{"text": content}, "LZX", 32<<10)["text"]
	r := newReader(t, stream, len(content), LZX)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			p := make([]byte, 5000)
			for off := i * 1111; off < len(content)-len(p); off += 44_444 {
				if _, err := r.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
		})
	}
	group.Wait()
}
