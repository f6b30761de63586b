package wof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Reader is the uncompressed content of a file. It keeps the chunk that was
// decoded last. It is safe for concurrent use if the stream below it is.
type Reader struct {
	algorithm  Algorithm
	size       int64 // of the content
	chunkSize  int64
	chunks     int64
	entrySize  int64 // of the chunk table
	tableSize  int64
	streamSize int64

	mu      sync.Mutex
	stream  window // both on the stream: one stays in the table, the other
	table   window // with the chunks
	expand  func(dst, src []byte) error
	current int64  // number of the chunk in data; -1: none
	data    []byte // allocated with the first chunk
}

// readAhead is how many bytes of the stream one request reads, at least: chunks
// are small, and each request can be a round trip to a file server.
const readAhead = 64 << 10

// NewReader takes the stream WofCompressedData of streamSize bytes of a file
// whose content has size bytes. It reads nothing yet.
//
// The stream begins with a table of where each chunk but the first starts,
// counted from the table's end, in 4 bytes each, or 8 if the content has 4 GiB
// or more. A chunk as long as what it expands to is stored as it is.
func NewReader(stream io.ReaderAt, streamSize, size int64, a Algorithm) (*Reader, error) {
	r := &Reader{algorithm: a, size: size, chunkSize: a.chunkSize(), streamSize: streamSize, entrySize: 4, current: -1}
	switch a {
	case XPRESS4K, XPRESS8K, XPRESS16K:
		r.expand = new(xpress).expand
	case LZX:
		r.expand = new(lzx).expand
	default:
		return nil, fmt.Errorf("%w: compression %s", ErrUnsupported, a)
	}
	if size < 0 || streamSize < 0 {
		return nil, corruptf("a stream of %d bytes for %d bytes of content", streamSize, size)
	}
	if size == 0 {
		return r, nil
	}
	r.chunks = (size-1)/r.chunkSize + 1
	if size >= 1<<32 {
		r.entrySize = 8
	}
	// A chunk has at least one byte.
	if (r.chunks-1) > (streamSize-1)/(r.entrySize+1) || streamSize == 0 {
		return nil, corruptf("a stream of %d bytes for %d chunks of %s and their table", streamSize, r.chunks, a)
	}
	r.tableSize = (r.chunks - 1) * r.entrySize
	r.table = window{r: stream, end: r.tableSize}
	r.stream = window{r: stream, end: streamSize}
	return r, nil
}

// Size is the length of the content in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("wof: read at negative offset %d", off)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(p) && off < r.size {
		if chunk := off / r.chunkSize; chunk != r.current {
			if err := r.load(chunk); err != nil {
				return n, fmt.Errorf("%s chunk %d of %d: %w", r.algorithm, chunk, r.chunks, err)
			}
		}
		k := copy(p[n:], r.data[off%r.chunkSize:])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load decodes a chunk into data.
func (r *Reader) load(chunk int64) error {
	start, end, err := r.bounds(chunk)
	if err != nil {
		return err
	}
	length := min(r.chunkSize, r.size-chunk*r.chunkSize)
	if end-start > length {
		return corruptf("%d bytes at offset %#x of the stream, want at most %d", end-start, start, length)
	}
	src, err := r.stream.bytes(start, end-start)
	if err != nil {
		return err
	}
	r.current = -1
	if r.data == nil {
		r.data = make([]byte, 0, min(r.chunkSize, r.size))
	}
	r.data = r.data[:length]
	if end-start == length {
		copy(r.data, src)
	} else if err := r.expand(r.data, src); err != nil {
		return fmt.Errorf("%d bytes at offset %#x of the stream: %w", end-start, start, err)
	}
	r.current = chunk
	return nil
}

// bounds tells where in the stream a chunk lies.
func (r *Reader) bounds(chunk int64) (start, end int64, err error) {
	start, end = r.tableSize, r.streamSize
	if chunk > 0 {
		if start, err = r.entry(chunk - 1); err != nil {
			return 0, 0, err
		}
	}
	if chunk < r.chunks-1 {
		if end, err = r.entry(chunk); err != nil {
			return 0, 0, err
		}
	}
	if start >= end {
		return 0, 0, corruptf("from offset %#x to %#x of the stream by its table", start, end)
	}
	return start, end, nil
}

// entry is where in the stream the chunk behind chunk i starts.
func (r *Reader) entry(i int64) (int64, error) {
	b, err := r.table.bytes(i*r.entrySize, r.entrySize)
	if err != nil {
		return 0, fmt.Errorf("chunk table: %w", err)
	}
	start := uint64(0)
	if r.entrySize == 8 {
		start = binary.LittleEndian.Uint64(b)
	} else {
		start = uint64(binary.LittleEndian.Uint32(b))
	}
	if limit := uint64(r.streamSize - r.tableSize); start >= limit {
		return 0, corruptf("chunk table, entry %d at offset %#x of the stream: chunk at %#x of %#x bytes", i, i*r.entrySize, start, limit)
	}
	return r.tableSize + int64(start), nil
}

// window is a piece of a stream in memory. It moves on in steps of readAhead.
type window struct {
	r   io.ReaderAt
	end int64 // of what may be read
	off int64
	b   []byte
}

// bytes gives n bytes from off on, until the next call. The caller has checked
// that they end before w.end.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+int64(len(w.b)) {
		want := min(max(n, readAhead), w.end-off)
		if int64(cap(w.b)) < want {
			w.b = make([]byte, want)
		}
		w.b = w.b[:want]
		got, err := w.r.ReadAt(w.b, off)
		if int64(got) < n {
			w.b = w.b[:0]
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read %d bytes at offset %#x of the stream: %w", n, off, err)
		}
		w.off, w.b = off, w.b[:got]
	}
	return w.b[off-w.off:][:n], nil
}
