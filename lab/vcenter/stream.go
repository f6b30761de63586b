package vcenter

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// errStream: what was uploaded is not a stream-optimized VMDK.
var errStream = errors.New("not a stream-optimized VMDK")

const (
	sector        = 512
	sparseMagic   = 0x564d444b // "KDMV" on disk
	sparseVersion = 3
	maxGrain      = 1 << 20 // bytes; theirs are 64 KiB
	endOfStream   = 0       // type of the last marker
	// maxMetadata bounds a grain table or directory that is skipped, in sectors.
	maxMetadata = 1 << 21
)

// streamHeader is SparseExtentHeader, little endian ("VMware Virtual Disk Format
// 5.0", Hosted Sparse Extents), as far as a stream needs it. Sizes are in
// sectors.
type streamHeader struct {
	Magic, Version, Flags          uint32
	Capacity, GrainSize            uint64
	DescriptorOffset, DescriptorSz uint64
	GTEsPerGT                      uint32
	RGDOffset, GDOffset, Overhead  uint64
	UncleanShutdown                uint8
	LineEnds                       [4]byte
	Compression                    uint16
}

// marker is what stands before each grain and each piece of metadata (the same,
// Stream-Optimized Compressed Sparse Extents). Value is a grain's first sector,
// or how many sectors the metadata have.
type marker struct {
	Value uint64
	Size  uint32 // of the compressed grain, in bytes; 0 if it is metadata
	Type  uint32 // of metadata; the grain begins here
}

// unpackStream writes the grains of a stream-optimized VMDK to their places.
// The disk must not be larger than sizeBytes.
func unpackStream(r io.Reader, w io.WriterAt, sizeBytes int64) error {
	in := bufio.NewReaderSize(r, 1<<16)
	h, err := readStreamHeader(in)
	if err != nil {
		return err
	}
	if h.Capacity > uint64(sizeBytes)/sector {
		return fmt.Errorf("%w: it has %d sectors, the disk %d", errStream, h.Capacity, sizeBytes/sector)
	}
	if _, err := in.Discard(int(h.Overhead)*sector - binary.Size(h)); err != nil {
		return fmt.Errorf("%w: in the first %d sectors: %w", errStream, h.Overhead, unexpected(err))
	}
	grain := make([]byte, h.GrainSize*sector)
	var inflate io.ReadCloser
	for {
		var m marker
		if err := binary.Read(in, binary.LittleEndian, &m); err != nil {
			return fmt.Errorf("%w: a marker: %w", errStream, unexpected(err))
		}
		if m.Size == 0 {
			if m.Type == endOfStream {
				return nil
			}
			if m.Value > maxMetadata {
				return fmt.Errorf("%w: metadata of %d sectors", errStream, m.Value)
			}
			if _, err := in.Discard(int(m.Value+1)*sector - binary.Size(m)); err != nil {
				return fmt.Errorf("%w: metadata: %w", errStream, unexpected(err))
			}
			continue
		}
		if inflate, err = readGrain(in, inflate, m, h, grain, w); err != nil {
			return err
		}
	}
}

func readStreamHeader(in io.Reader) (streamHeader, error) {
	var h streamHeader
	if err := binary.Read(in, binary.LittleEndian, &h); err != nil {
		return h, fmt.Errorf("%w: the header: %w", errStream, unexpected(err))
	}
	const compressed, markers = 1 << 16, 1 << 17
	switch {
	case h.Magic != sparseMagic:
		return h, fmt.Errorf("%w: it begins with %#08x", errStream, h.Magic)
	case h.Version == 0 || h.Version > sparseVersion:
		return h, fmt.Errorf("%w: version %d", errStream, h.Version)
	case h.Flags&compressed == 0 || h.Flags&markers == 0 || h.Compression != 1:
		return h, fmt.Errorf("%w: flags %#x, compression %d", errStream, h.Flags, h.Compression)
	case h.GrainSize == 0 || h.GrainSize > maxGrain/sector:
		return h, fmt.Errorf("%w: grains of %d sectors", errStream, h.GrainSize)
	case h.Overhead == 0 || h.Overhead > maxMetadata:
		return h, fmt.Errorf("%w: overhead of %d sectors", errStream, h.Overhead)
	}
	return h, nil
}

// readGrain unpacks the grain behind marker m, whose Type was its first bytes.
func readGrain(in io.Reader, inflate io.ReadCloser, m marker, h streamHeader, grain []byte, w io.WriterAt) (io.ReadCloser, error) {
	const before = 12 // of the marker, to the grain
	if m.Size > 2*maxGrain {
		return inflate, fmt.Errorf("%w: the grain at sector %d has %d bytes", errStream, m.Value, m.Size)
	}
	if m.Value%h.GrainSize != 0 || m.Value >= h.Capacity {
		return inflate, fmt.Errorf("%w: a grain at sector %d of %d", errStream, m.Value, h.Capacity)
	}
	padded := (before+int(m.Size)+sector-1)/sector*sector - before
	packed := make([]byte, max(padded, 4))
	binary.LittleEndian.PutUint32(packed, m.Type)
	if _, err := io.ReadFull(in, packed[4:]); err != nil {
		return inflate, fmt.Errorf("%w: the grain at sector %d: %w", errStream, m.Value, unexpected(err))
	}
	var err error
	source := bytes.NewReader(packed[:m.Size])
	if inflate == nil {
		inflate, err = zlib.NewReader(source)
	} else {
		err = inflate.(zlib.Resetter).Reset(source, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the grain at sector %d: %w", errStream, m.Value, err)
	}
	// The last grain of a disk may be cut off at its end, or filled up.
	want := grain[:min(h.GrainSize, h.Capacity-m.Value)*sector]
	if _, err := io.ReadFull(inflate, want); err != nil {
		return inflate, fmt.Errorf("%w: the grain at sector %d: %w", errStream, m.Value, unexpected(err))
	}
	if _, err := w.WriteAt(want, int64(m.Value)*sector); err != nil {
		return inflate, err
	}
	return inflate, nil
}

// unexpected is for a stream that ends too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
