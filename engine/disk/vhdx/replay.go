package vhdx

import (
	"container/heap"
	"fmt"
	"io"
	"slices"
	"sort"
)

// replayedFile is a file as it reads when its log has been replayed.
type replayedFile struct {
	r        io.ReaderAt
	fileSize int64 // of the file on storage
	size     int64 // with what the replay appends
	patches  []filePatch
}

// filePatch replaces a range of a file.
type filePatch struct {
	offset, end int64
	data        []byte // nil for zeros
}

// replay replays the log of a file of size bytes in memory, [MS-VHDX] 2.3.3.
func replay(r io.ReaderAt, size int64, head header) (*replayedFile, error) {
	l, err := readLog(r, head)
	if err != nil {
		return nil, err
	}
	active, err := l.activeSequence()
	if err != nil {
		return nil, err
	}
	last := active[len(active)-1]
	at := l.offset + int64(last.position)*logSectorSize
	switch {
	case last.flushedSize > uint64(size):
		return nil, corrupt("log entry", at, "the file had %d bytes when the entry was written, it is truncated to %d", last.flushedSize, size)
	case last.lastSize > maxFileSize:
		return nil, corrupt("log entry", at, "found a file size of %d bytes, expected at most %d", last.lastSize, int64(maxFileSize))
	}
	f := &replayedFile{r: r, fileSize: size, size: max(size, int64(last.lastSize))}
	var patches []filePatch
	for _, e := range active {
		patches = l.appendPatches(patches, e)
	}
	for _, p := range patches {
		f.size = max(f.size, p.end)
	}
	f.patches = flatten(patches)
	return f, nil
}

// appendPatches appends the changes of an entry. The data sectors of the log
// become sectors of the file: they get back the bytes that their descriptors
// keep for them.
func (l *logRegion) appendPatches(patches []filePatch, e logEntry) []filePatch {
	data := e.position + descriptorSectors(e.descriptors)
	for i := range e.descriptors {
		d := l.descriptor(e, i)
		off := int64(le.Uint64(d[16:]))
		if string(d[:4]) == logZeroSignature {
			if length := int64(le.Uint64(d[8:])); length > 0 {
				patches = append(patches, filePatch{off, off + length, nil})
			}
			continue
		}
		p := l.sector(data)
		copy(p, d[8:16])                  // LeadingBytes
		copy(p[logSectorSize-4:], d[4:8]) // TrailingBytes
		patches = append(patches, filePatch{off, off + logSectorSize, p})
		data++
	}
	return patches
}

// flatten turns patches in the order of their application into disjoint ones
// in ascending order.
func flatten(patches []filePatch) []filePatch {
	byOffset := make([]int, len(patches))
	for i := range byOffset {
		byOffset[i] = i
	}
	slices.SortStableFunc(byOffset, func(a, b int) int {
		return int((patches[a].offset - patches[b].offset) / logSectorSize)
	})
	var flat []filePatch
	var newest latest // of the patches that began before pos
	for pos := int64(0); len(byOffset) > 0 || len(newest) > 0; {
		if len(newest) == 0 {
			pos = patches[byOffset[0]].offset
		}
		for len(byOffset) > 0 && patches[byOffset[0]].offset == pos {
			heap.Push(&newest, byOffset[0])
			byOffset = byOffset[1:]
		}
		p := patches[newest[0]]
		if p.end <= pos {
			heap.Pop(&newest)
			continue
		}
		end := p.end
		if len(byOffset) > 0 {
			end = min(end, patches[byOffset[0]].offset)
		}
		piece := filePatch{pos, end, nil}
		if p.data != nil {
			piece.data = p.data[pos-p.offset:][:end-pos]
		}
		if n := len(flat); n > 0 && piece.data == nil && flat[n-1].data == nil && flat[n-1].end == pos {
			flat[n-1].end = end
		} else {
			flat = append(flat, piece)
		}
		pos = end
	}
	return flat
}

// latest is a heap of patch numbers, the highest first.
type latest []int

func (h latest) Len() int           { return len(h) }
func (h latest) Less(i, j int) bool { return h[i] > h[j] }
func (h latest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *latest) Push(x any)        { *h = append(*h, x.(int)) }
func (h *latest) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (f *replayedFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("vhdx: read at negative offset %d", off)
	}
	if off >= f.size {
		return 0, io.EOF
	}
	var atEnd error
	if left := f.size - off; int64(len(p)) > left {
		p, atEnd = p[:left], io.EOF
	}
	patches := f.patches[sort.Search(len(f.patches), func(i int) bool { return f.patches[i].end > off }):]
	for done := 0; done < len(p); {
		rest, at := p[done:], off+int64(done)
		if len(patches) > 0 && patches[0].offset <= at {
			rest = rest[:min(int64(len(rest)), patches[0].end-at)]
			if data := patches[0].data; data != nil {
				copy(rest, data[at-patches[0].offset:])
			} else {
				clear(rest)
			}
			patches = patches[1:]
			done += len(rest)
			continue
		}
		if len(patches) > 0 {
			rest = rest[:min(int64(len(rest)), patches[0].offset-at)]
		}
		n, err := f.readFile(rest, at)
		if done += n; err != nil {
			return done, err
		}
	}
	return len(p), atEnd
}

// readFile fills p from the file. Behind its end are the zeros that a replay
// would append.
func (f *replayedFile) readFile(p []byte, off int64) (int, error) {
	stored := int(max(0, min(int64(len(p)), f.fileSize-off)))
	clear(p[stored:])
	if stored > 0 {
		if n, err := f.r.ReadAt(p[:stored], off); n < stored {
			return n, err
		}
	}
	return len(p), nil
}
