package vhd

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Options describes an image that Create makes. All of it goes into the file.
type Options struct {
	// Type is Fixed or Dynamic; WriteChild writes differencing images.
	Type Type
	// SizeBytes is the virtual size, a multiple of SectorSize up to MaxSize.
	// Every reader shows it as it is: the footer has Windows' creator, whose
	// current size counts and not the geometry.
	SizeBytes int64
	// BlockSize of a dynamic image in bytes, a power of two from 512 KiB to
	// 256 MiB; DefaultBlockSize if 0.
	BlockSize uint32
	// UniqueID is what children will know the image by.
	UniqueID uuid.UUID
	// Timestamp is when the image was made, from 2000 on, in whole seconds.
	Timestamp time.Time
}

// Writer is an image that is being made: an io.WriterAt of the disk's
// contents, whose disk is zeros at first. WriteAt may be called concurrently,
// for ranges that do not overlap.
type Writer struct {
	out    output
	footer footer
	geo    geometry
	// Of dynamic images only. table has the sector number of each block's
	// bitmap, 0 of blocks that are absent.
	table       []atomic.Uint32
	tableOffset int64

	finished atomic.Bool

	mu       sync.Mutex
	end      int64   // of the file's last block
	unmarked []int64 // offsets of bitmaps whose write failed
}

// Create begins an image in an empty file. The file is no VHD to anybody until
// Finish has returned. Nothing is written yet.
func Create(w File, opt Options) (*Writer, error) {
	if !validVirtualSize(opt.SizeBytes) {
		return nil, fmt.Errorf("vhd: virtual size %d is not a multiple of %d up to 2040 GiB", opt.SizeBytes, SectorSize)
	}
	if opt.UniqueID == uuid.Nil {
		return nil, errNoID
	}
	created, err := timestamp(opt.Timestamp)
	if err != nil {
		return nil, err
	}
	wr := &Writer{out: output{w: w}, geo: geometry{virtualSize: opt.SizeBytes}}
	switch opt.Type {
	case Fixed:
		if opt.BlockSize != 0 {
			return nil, fmt.Errorf("vhd: a fixed image has no blocks, of %d bytes or others", opt.BlockSize)
		}
		wr.footer = newFooter(typeFixed, opt.SizeBytes, opt.UniqueID, created)
		return wr, nil
	case Dynamic:
	default:
		return nil, fmt.Errorf("vhd: type %s is not fixed or dynamic", opt.Type)
	}

	if opt.BlockSize == 0 {
		opt.BlockSize = DefaultBlockSize
	}
	if !validBlockSize(opt.BlockSize) {
		return nil, fmt.Errorf("vhd: block size %d is not a power of two from 512 KiB to 256 MiB", opt.BlockSize)
	}
	wr.footer = newFooter(typeDynamic, opt.SizeBytes, opt.UniqueID, created)
	wr.geo.blockSize = int64(opt.BlockSize)
	wr.tableOffset = headerOffset + headerSize
	wr.end = wr.tableOffset + tableSize(wr.geo, wr.tableOffset)
	// Known now rather than after two terabytes were written.
	if full := wr.end + wr.geo.blocks()*wr.geo.stride(); full > maxBlocksEnd {
		return nil, fmt.Errorf("vhd: with blocks of %d bytes, a disk of %d takes up to %d, more than a BAT can address: %w",
			opt.BlockSize, opt.SizeBytes, full, ErrUnsupported)
	}
	wr.table = make([]atomic.Uint32, wr.geo.blocks())
	return wr, nil
}

// WriteAt writes to the disk, at any offset inside it. In a dynamic image it
// gives blocks that are written for the first time their place in the file,
// in that order, except that zeros in an absent block are there already. What
// an error leaves unwritten may be written again.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if size := w.geo.virtualSize; off < 0 || off > size || int64(len(p)) > size-off {
		return 0, fmt.Errorf("vhd: write of %d bytes at %d outside a disk of %d", len(p), off, size)
	}
	if w.finished.Load() {
		return 0, errFinished
	}
	if w.table == nil {
		n, err := w.out.w.WriteAt(p, off)
		if err != nil {
			err = fmt.Errorf("vhd: writing %d bytes at offset %#x: %w", len(p), off, err)
		}
		return n, err
	}
	for done := 0; done < len(p); {
		block, within := (off+int64(done))/w.geo.blockSize, (off+int64(done))%w.geo.blockSize
		part := p[done:]
		part = part[:min(int64(len(part)), w.geo.blockSize-within)]
		if err := w.writeBlock(part, block, within); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

func (w *Writer) writeBlock(p []byte, block, within int64) error {
	sector := w.table[block].Load()
	if sector == 0 {
		if isZero(p) {
			return nil
		}
		var err error
		if sector, err = w.allocate(block); err != nil {
			return err
		}
	}
	return w.out.write("block", p, int64(sector)*SectorSize+w.geo.bitmapSize()+within)
}

// allocate gives a block its place, unless somebody else just did. Whoever
// does writes the bitmap: all sectors of the block, as Windows does.
func (w *Writer) allocate(block int64) (sector uint32, err error) {
	w.mu.Lock()
	if sector = w.table[block].Load(); sector != 0 {
		w.mu.Unlock()
		return sector, nil
	}
	off := blockOffset(w.end, w.geo)
	w.end = off + w.geo.bitmapSize() + w.geo.blockSize
	sector = uint32(off / SectorSize)
	w.table[block].Store(sector)
	w.mu.Unlock()

	if err := w.mark(off); err != nil {
		// The block has its place: Finish tries again.
		w.mu.Lock()
		defer w.mu.Unlock()
		w.unmarked = append(w.unmarked, off)
		return 0, err
	}
	return sector, nil
}

// mark writes a bitmap that has all sectors set.
func (w *Writer) mark(off int64) error {
	bitmap := make(sectorBitmap, w.geo.bitmapSize())
	bitmap.set(0, w.geo.blockSize/SectorSize)
	return w.out.write("sector bitmap", bitmap, off)
}

// SetUniqueID gives the image another ID than its Options say, before Finish:
// for those who derive it from the contents. It may not be zero.
func (w *Writer) SetUniqueID(id uuid.UUID) error {
	if id == uuid.Nil {
		return errNoID
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished.Load() {
		return errFinished
	}
	w.footer.uniqueID = id
	return nil
}

var (
	errFinished = errors.New("vhd: the image is finished")
	errNoID     = errors.New("vhd: an image needs a unique ID")
)

// Finish completes the file and gives its size in bytes. It is called once,
// after all calls of WriteAt have returned, and not if one of them failed and
// was not made good.
//
// Of a fixed image, the footer at its end is written last, after a Sync. Of a
// dynamic one, the BAT, then after a Sync the two footers, and after another
// the dynamic disk header. A file that was not finished is ErrNotVHD or
// ErrCorrupt to Open and to ReadIdentity.
func (w *Writer) Finish() (sizeBytes int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished.Swap(true) {
		return 0, errFinished
	}
	if w.table == nil {
		if err := w.out.sync("data"); err != nil {
			return 0, err
		}
		if err := w.out.write("footer", w.footer.encode(), w.geo.virtualSize); err != nil {
			return 0, err
		}
		return w.geo.virtualSize + footerSize, w.out.sync("footer")
	}
	for _, off := range w.unmarked {
		if err := w.mark(off); err != nil {
			return 0, err
		}
	}
	if err := w.writeTable(); err != nil {
		return 0, err
	}
	return w.out.commit(w.footer, header{
		tableOffset: uint64(w.tableOffset),
		maxEntries:  uint32(len(w.table)),
		blockSize:   uint32(w.geo.blockSize),
	}, w.end)
}

// writeTable writes the BAT and its padding, a MiB at a time.
func (w *Writer) writeTable() error {
	size := tableSize(w.geo, w.tableOffset)
	p := make([]byte, min(size, mib))
	for done := int64(0); done < size; {
		p = p[:min(int64(len(p)), size-done)]
		for i := int64(0); i < int64(len(p)); i += batEntrySize {
			entry := uint32(absent)
			if block := (done + i) / batEntrySize; block < int64(len(w.table)) {
				if sector := w.table[block].Load(); sector != 0 {
					entry = sector
				}
			}
			be.PutUint32(p[i:], entry)
		}
		if err := w.out.write("BAT", p, w.tableOffset+done); err != nil {
			return err
		}
		done += int64(len(p))
	}
	return nil
}
