package share

import (
	"bytes"
	"container/list"
	"io"
	"sync"
)

// The sizes that Buffered uses for arguments that are not positive: 16 MiB.
const (
	defaultBlockSize = 256 << 10
	defaultBlocks    = 64
)

// Buffered puts a cache before f, for parsers that read a few bytes here and
// there, and read some of them again: reads are served from the blocks used
// last, whole blocks of f that are fetched once even if many ask at the same
// time. Reads of more than a quarter of the cache go to f directly, and errors
// are not remembered. It is for files that do not change, and may be used
// concurrently.
//
// It holds the cache, and for each read under way that misses it, twice what
// is read: at most blockSize x blocks x (1 + readers/2) bytes, and in practice
// little more than the cache.
func Buffered(f File, blockSize, blocks int) io.ReaderAt {
	if blockSize <= 0 {
		blockSize = defaultBlockSize
	}
	if blocks <= 0 {
		blocks = defaultBlocks
	}
	return &buffered{file: f, blockSize: int64(blockSize), blocks: blocks, index: make(map[int64]*list.Element)}
}

type buffered struct {
	file      File
	blockSize int64
	blocks    int

	mu    sync.Mutex
	index map[int64]*list.Element // by block number
	lru   list.List               // of *block, the one used last in front
}

// block is one block of the file. data and err are set when ready is closed.
type block struct {
	number int64
	ready  chan struct{}
	data   []byte
	err    error
}

func (b *buffered) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= b.file.Size() || int64(len(p)) > b.blockSize*int64(b.blocks)/4 {
		return b.file.ReadAt(p, off)
	}
	last := (off + int64(len(p)) - 1) / b.blockSize
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= b.file.Size() {
			return done, io.EOF
		}
		data, err := b.block(at/b.blockSize, last)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], data[at%b.blockSize:])
	}
	return done, nil
}

// block gives the bytes of a block that the file has. Where it is missing, it
// is fetched together with the missing ones behind it, up to the last one that
// the reader wants: one request to the server instead of many.
func (b *buffered) block(number, last int64) ([]byte, error) {
	b.mu.Lock()
	if e, ok := b.index[number]; ok {
		b.lru.MoveToFront(e)
		b.mu.Unlock()
		blk := e.Value.(*block)
		<-blk.ready
		return blk.data, blk.err
	}
	last = min(last, (b.file.Size()-1)/b.blockSize)
	var run []*list.Element
	for n := number; n <= last; n++ {
		if _, ok := b.index[n]; ok {
			break
		}
		e := b.lru.PushFront(&block{number: n, ready: make(chan struct{})})
		b.index[n] = e
		run = append(run, e)
	}
	for b.lru.Len() > b.blocks {
		b.forget(b.lru.Back())
	}
	b.mu.Unlock()
	b.fetch(number, run)
	blk := run[0].Value.(*block)
	return blk.data, blk.err
}

// fetch reads a run of blocks, and tells those who wait for them.
func (b *buffered) fetch(first int64, run []*list.Element) {
	start := first * b.blockSize
	data := make([]byte, min(b.blockSize*int64(len(run)), b.file.Size()-start))
	n, err := b.file.ReadAt(data, start)
	switch {
	case n == len(data):
		err = nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	for i, e := range run {
		blk := e.Value.(*block)
		if blk.err = err; err == nil {
			from := int64(i) * b.blockSize
			// Its own memory: a block that stays longer than its neighbours must
			// not keep theirs.
			blk.data = bytes.Clone(data[from:min(from+b.blockSize, int64(len(data)))])
		} else {
			b.mu.Lock()
			b.forget(e)
			b.mu.Unlock()
		}
		close(blk.ready)
	}
}

// forget drops a block, if it is still there. mu is held.
func (b *buffered) forget(e *list.Element) {
	if number := e.Value.(*block).number; b.index[number] == e {
		delete(b.index, number)
		b.lru.Remove(e)
	}
}

// BufferedFile is f, read through Buffered.
func BufferedFile(f File, blockSize, blocks int) File {
	return bufferedFile{f, Buffered(f, blockSize, blocks)}
}

type bufferedFile struct {
	File
	blocks io.ReaderAt
}

func (f bufferedFile) ReadAt(p []byte, off int64) (int, error) { return f.blocks.ReadAt(p, off) }
