package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"imageport/engine/disk"
)

// PageSize is the granularity of changes in bytes: the cluster size of a
// Windows system volume and the physical sector size of the disks below it.
const PageSize = 4096

// readRunPages bounds one read of the base in DropUnchanged to 1 MiB, the
// largest request that an SMB server answers in one round trip.
const readRunPages = 256

// ErrOutOfRange is wrapped by a WriteAt that begins before or ends behind the
// disk. Nothing is written then.
var ErrOutOfRange = errors.New("write outside the disk")

// Overlay is a disk.Writable over an immutable base.
//
// ReadAt, Size, SectorSize and DirtyBytes may be called concurrently with one
// another and with WriteAt and DropUnchanged.
type Overlay struct {
	base disk.Disk
	size int64

	mu sync.RWMutex
	// pages holds the changed pages by page number (offset / PageSize). A
	// page at the end of a disk whose size is no multiple of PageSize is as
	// short as the disk.
	pages map[int64][]byte
}

var _ disk.Writable = (*Overlay)(nil)

// Page is one changed page.
type Page struct {
	// Offset is the byte offset on the disk, a multiple of PageSize.
	Offset int64
	// Data is the page: PageSize bytes, or what is left of the disk for a
	// last page that the disk ends in. It belongs to the overlay: read only.
	Data []byte
}

// New lays an empty overlay over base, which must not change any more.
func New(base disk.Disk) *Overlay {
	return &Overlay{base: base, size: base.Size(), pages: make(map[int64][]byte)}
}

// Size is the base's virtual size in bytes.
func (o *Overlay) Size() int64 { return o.size }

// SectorSize is the base's logical sector size in bytes.
func (o *Overlay) SectorSize() int { return o.base.SectorSize() }

// ReadAt reads the changed pages and, between them, the base.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("overlay: read at negative offset %d", off)
	}
	if off >= o.size {
		return 0, io.EOF
	}
	var atEnd error
	if left := o.size - off; int64(len(p)) > left {
		p, atEnd = p[:left], io.EOF
	}

	o.mu.RLock()
	defer o.mu.RUnlock()
	for done := 0; done < len(p); {
		pos := off + int64(done)
		if page, ok := o.pages[pos/PageSize]; ok {
			done += copy(p[done:], page[pos%PageSize:])
			continue
		}
		// One read of the base up to the next changed page.
		end := (pos/PageSize + 1) * PageSize
		for end < off+int64(len(p)) && o.pages[end/PageSize] == nil {
			end += PageSize
		}
		n := int(min(end-off, int64(len(p)))) - done
		m, err := o.readBase(p[done:done+n], pos)
		done += m
		if err != nil {
			return done, err
		}
	}
	return len(p), atEnd
}

// WriteAt changes any range inside the disk. Pages that are written only in
// part are filled from the base.
func (o *Overlay) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > o.size || int64(len(p)) > o.size-off {
		return 0, fmt.Errorf("overlay: %d bytes at offset %d of a disk of %d bytes: %w", len(p), off, o.size, ErrOutOfRange)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for done := 0; done < len(p); {
		pos := off + int64(done)
		within := int(pos % PageSize)
		page, ok := o.pages[pos/PageSize]
		if !ok {
			start := pos - int64(within)
			page = make([]byte, min(PageSize, o.size-start))
			if within > 0 || len(p)-done < len(page) {
				if _, err := o.readBase(page, start); err != nil {
					return done, err
				}
			}
			o.pages[pos/PageSize] = page
		}
		done += copy(page[within:], p[done:])
	}
	return len(p), nil
}

// DropUnchanged forgets the pages whose bytes equal the base's. It reads the
// base once per changed page, in runs of up to 1 MiB.
func (o *Overlay) DropUnchanged() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	buf := make([]byte, readRunPages*PageSize)
	for run := range o.runs() {
		first := run[0] * PageSize
		end := min((run[len(run)-1]+1)*PageSize, o.size)
		if _, err := o.readBase(buf[:end-first], first); err != nil {
			return err
		}
		for _, number := range run {
			page := o.pages[number]
			at := number*PageSize - first
			if bytes.Equal(page, buf[at:at+int64(len(page))]) {
				delete(o.pages, number)
			}
		}
	}
	return nil
}

// runs gives the numbers of the changed pages, ascending, cut into runs of
// adjacent pages of at most readRunPages.
func (o *Overlay) runs() iter.Seq[[]int64] {
	numbers := slices.Sorted(maps.Keys(o.pages))
	return func(yield func([]int64) bool) {
		for len(numbers) > 0 {
			n := 1
			for n < len(numbers) && n < readRunPages && numbers[n] == numbers[n-1]+1 {
				n++
			}
			if !yield(numbers[:n]) {
				return
			}
			numbers = numbers[n:]
		}
	}
}

// Pages gives the changed pages in ascending order. The overlay must not be
// written while the caller iterates or keeps the pages' data.
func (o *Overlay) Pages() iter.Seq[Page] {
	return func(yield func(Page) bool) {
		o.mu.RLock()
		numbers := slices.Sorted(maps.Keys(o.pages))
		o.mu.RUnlock()
		for _, number := range numbers {
			o.mu.RLock()
			data := o.pages[number]
			o.mu.RUnlock()
			if !yield(Page{Offset: number * PageSize, Data: data}) {
				return
			}
		}
	}
}

// DirtyBytes is the number of bytes in changed pages.
func (o *Overlay) DirtyBytes() int64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	dirty := int64(len(o.pages)) * PageSize
	if tail := o.size % PageSize; tail > 0 && o.pages[o.size/PageSize] != nil {
		dirty -= PageSize - tail
	}
	return dirty
}

// readBase fills p from the base. The range lies inside the disk, so anything
// short of all of it is an error.
func (o *Overlay) readBase(p []byte, off int64) (int, error) {
	n, err := o.base.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("overlay: reading %d bytes of the base at offset %d: %w", len(p), off, err)
}
