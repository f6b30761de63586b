package vhdx

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
)

// DefaultDynamicBlockSize is what Windows gives dynamic images.
const DefaultDynamicBlockSize = 32 << 20

// Options describes an image that Create writes.
type Options struct {
	// Type is Fixed or Dynamic. For Differencing there is WriteChild.
	Type Type
	// SizeBytes is the virtual size, a multiple of the logical sector size of
	// up to 64 TiB.
	SizeBytes int64
	// BlockSize in bytes, a power of two from 1 MiB to 256 MiB;
	// DefaultDynamicBlockSize if 0.
	BlockSize uint32
	// LogicalSectorSize and PhysicalSectorSize are 512 or 4096 bytes, the
	// physical one not below the logical one; 512 and 4096, as Windows has
	// them, if 0.
	LogicalSectorSize, PhysicalSectorSize int
	// The image's own GUIDs. None may be zero.
	FileWriteGUID, DataWriteGUID, VirtualDiskID uuid.UUID
	// Creator names the program, in at most 256 UTF-16 units.
	Creator string
}

// validate checks the options and fills in defaults.
func (opt *Options) validate() error {
	if opt.BlockSize == 0 {
		opt.BlockSize = DefaultDynamicBlockSize
	}
	if opt.LogicalSectorSize == 0 {
		opt.LogicalSectorSize = 512
	}
	if opt.PhysicalSectorSize == 0 {
		opt.PhysicalSectorSize = 4096
	}
	switch {
	case opt.Type != Fixed && opt.Type != Dynamic:
		return fmt.Errorf("vhdx: cannot create a %s image, only fixed and dynamic ones", opt.Type)
	case !validBlockSize(opt.BlockSize):
		return fmt.Errorf("vhdx: block size %d is not a power of two from 1 MiB to 256 MiB", opt.BlockSize)
	case !validSectorSize(opt.LogicalSectorSize) || !validSectorSize(opt.PhysicalSectorSize) || opt.PhysicalSectorSize < opt.LogicalSectorSize:
		return fmt.Errorf("vhdx: sector sizes %d (logical) and %d (physical) are not 512 or 4096, the physical not below the logical",
			opt.LogicalSectorSize, opt.PhysicalSectorSize)
	case !validVirtualSize(opt.SizeBytes, opt.LogicalSectorSize):
		return fmt.Errorf("vhdx: virtual size %d is not a multiple of %d up to 64 TiB", opt.SizeBytes, opt.LogicalSectorSize)
	case opt.FileWriteGUID == uuid.Nil || opt.DataWriteGUID == uuid.Nil || opt.VirtualDiskID == uuid.Nil:
		return errors.New("vhdx: an image needs a file write GUID, a data write GUID and a virtual disk ID")
	case len(encodeUTF16(opt.Creator)) > creatorSize:
		return fmt.Errorf("vhdx: creator %q is longer than %d bytes of UTF-16", opt.Creator, creatorSize)
	}
	return nil
}

// Writer writes the contents of a new fixed or dynamic image.
//
// What was never written is zeros. Memory grows with the blocks that a dynamic
// image has: by 4 bytes each, in pieces of 16 KiB.
type Writer struct {
	w          File
	geo        geometry
	first      int64 // file offset of the first block
	structures structureSet

	mu     sync.Mutex
	blocks blockPlaces
	end    int64 // of all writes, in the file
	err    error // why there is no image any more to write to
}

// Create starts an image in an empty file. Nothing is written before the
// first WriteAt; there is no image in the file before Finish.
func Create(w File, opt Options) (*Writer, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	metadata, err := encodeMetadata(Info{
		Type:               opt.Type,
		VirtualSize:        opt.SizeBytes,
		BlockSize:          opt.BlockSize,
		LogicalSectorSize:  opt.LogicalSectorSize,
		PhysicalSectorSize: opt.PhysicalSectorSize,
		VirtualDiskID:      opt.VirtualDiskID,
	}, nil)
	if err != nil {
		return nil, err
	}
	geo := newGeometry(opt.SizeBytes, int64(opt.BlockSize), int64(opt.LogicalSectorSize))
	length := batLength(geo, false)
	wr := &Writer{w: w, geo: geo, first: layoutBATOffset + length}
	if opt.Type == Fixed {
		wr.blocks = allBlocks{wr.first, geo}
	} else {
		wr.blocks = newDemandBlocks(wr.first, geo)
	}
	wr.structures = structureSet{
		creator:   opt.Creator,
		fileWrite: opt.FileWriteGUID,
		dataWrite: opt.DataWriteGUID,
		metadata:  metadata,
		batLength: length,
		entries:   wr.entries,
	}
	return wr, nil
}

// WriteAt writes a part of the disk, which may start and end anywhere inside
// it. It may be called concurrently for ranges that do not overlap. Zeros for
// blocks that are not there yet are dropped; other blocks come in the order
// in which they are written first. After an error there is nothing left
// but to drop the file: all later calls fail too.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.geo.virtualSize || int64(len(p)) > w.geo.virtualSize-off {
		return 0, fmt.Errorf("vhdx: write of %d bytes at %d outside of the disk of %d bytes", len(p), off, w.geo.virtualSize)
	}
	for done := 0; done < len(p); {
		pos := off + int64(done)
		within := pos % w.geo.blockSize
		part := p[done:][:min(int64(len(p)-done), w.geo.blockSize-within)]
		place, err := w.place(pos/w.geo.blockSize, part)
		if err != nil {
			return done, err
		}
		if place != 0 {
			if n, err := w.write(part, place+within); err != nil {
				return done + n, err
			}
		}
		done += len(part)
	}
	return len(p), nil
}

// place gives the file offset of a block that part is to be written to, or 0
// if part is zeros and the block is not there.
func (w *Writer) place(block int64, part []byte) (int64, error) {
	find := func(allocate bool) (int64, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err != nil {
			return 0, w.err
		}
		return w.blocks.place(block, allocate), nil
	}
	place, err := find(false)
	if err != nil || place != 0 || isZero(part) {
		return place, err
	}
	return find(true)
}

// write writes to the file and remembers how far, and whether it failed.
func (w *Writer) write(p []byte, at int64) (int, error) {
	n, err := w.w.WriteAt(p, at)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end = max(w.end, at+int64(n))
	if err != nil {
		err = fmt.Errorf("vhdx: writing payload block at offset %#x: %w", at, err)
		if w.err == nil {
			w.err = err
		}
	}
	return n, err
}

// SetWriteGUIDs gives the image other GUIDs than its Options say, before Finish:
// for those who derive them from the contents. Neither may be zero.
func (w *Writer) SetWriteGUIDs(fileWrite, dataWrite uuid.UUID) error {
	if fileWrite == uuid.Nil || dataWrite == uuid.Nil {
		return errors.New("vhdx: an image needs a file write GUID and a data write GUID")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.structures.fileWrite, w.structures.dataWrite = fileWrite, dataWrite
	}
	return w.err
}

// errFinished is what calls after Finish get.
var errFinished = errors.New("vhdx: the image is finished")

// Finish completes the image and gives the size of the file in bytes. No
// WriteAt may be running, and none may follow.
//
// The file gets its full size, then, each after a Sync, the tables, the
// headers and at the very last the 8 bytes that make it a VHDX. A file that
// Finish was not called for, or was stopped in the middle of, has none and is
// ErrNotVHDX to Open.
func (w *Writer) Finish() (sizeBytes int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.err = errFinished
	size := w.blocks.end()
	out := &fileWriter{ctx: context.Background(), w: w.w}
	if w.end < size && size > w.first {
		if err := out.write("end of the last block", []byte{0}, size-1); err != nil {
			return 0, err
		}
	}
	if err := w.structures.write(out); err != nil {
		return 0, err
	}
	return size, nil
}

// entries puts the BAT entries from first on into p.
func (w *Writer) entries(first int64, p []byte) {
	last := first + int64(len(p))/8
	// The block whose entry is the first in p, or the next one if that is a
	// bitmap's.
	block := first - first/(w.geo.chunkRatio+1)
	for ; block < w.geo.payloadBlocks(); block++ {
		index := w.geo.payloadEntry(block)
		if index >= last {
			return
		}
		if place := w.blocks.place(block, false); place != 0 {
			le.PutUint64(p[8*(index-first):], uint64(newBATEntry(blockFullyPresent, place)))
		}
	}
}

// blockPlaces is where the blocks of a new image are in its file.
type blockPlaces interface {
	// place is the file offset of a block; 0 if it has none and is not to
	// be given one.
	place(block int64, allocate bool) int64
	// end is the size of the file with all blocks.
	end() int64
}

// allBlocks are the blocks of a fixed image: there from the start, in order.
type allBlocks struct {
	first int64
	geo   geometry
}

func (b allBlocks) place(block int64, _ bool) int64 { return b.first + block*b.geo.blockSize }

func (b allBlocks) end() int64 { return b.place(b.geo.payloadBlocks(), false) }

// demandBlocks are the blocks of a dynamic image, in the order in which they
// were asked for.
type demandBlocks struct {
	next      int64
	blockSize int64
	// pieces hold file offsets in MiB, which fit: a file has up to 2^27 MiB.
	pieces []*[placesPerPiece]uint32
}

const placesPerPiece = 4096

func newDemandBlocks(first int64, geo geometry) *demandBlocks {
	pieces := (geo.payloadBlocks() + placesPerPiece - 1) / placesPerPiece
	return &demandBlocks{first, geo.blockSize, make([]*[placesPerPiece]uint32, pieces)}
}

func (b *demandBlocks) place(block int64, allocate bool) int64 {
	piece := &b.pieces[block/placesPerPiece]
	if *piece == nil {
		if !allocate {
			return 0
		}
		*piece = new([placesPerPiece]uint32)
	}
	place := &(*piece)[block%placesPerPiece]
	if *place == 0 && allocate {
		*place = uint32(b.next / mib)
		b.next += b.blockSize
	}
	return int64(*place) * mib
}

func (b *demandBlocks) end() int64 { return b.next }
