package ntfs

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// Range is a piece of the volume, in bytes.
type Range struct{ Offset, Length int64 }

// bitmapBatch is the number of bytes of $Bitmap that are in memory at once:
// 2 GiB of a volume with clusters of 4 KiB.
const bitmapBatch = 64 << 10

// FreeSpace gives the clusters that belong to no file, by $Bitmap: ascending,
// and joined, so that no two ranges touch. What is left of the volume behind
// the last whole cluster is in none. The bitmap is read as the ranges are
// asked for. An error comes last, with an empty range: of kind ErrCorrupt if
// the bitmap does not describe the whole volume.
//
// On a volume that is not in order (see State.Dirty and LogFileClean) clusters
// of a file may be given as free.
func (v *Volume) FreeSpace() iter.Seq2[Range, error] {
	return func(yield func(Range, error) bool) {
		err := v.freeClusters(func(first, count int64) bool {
			return yield(Range{first * v.clusterSize, count * v.clusterSize}, nil)
		})
		if err != nil {
			yield(Range{}, err)
		}
	}
}

// freeClusters calls visit with each run of free clusters until it returns
// false.
func (v *Volume) freeClusters(visit func(first, count int64) bool) error {
	s, err := v.volumeBitmap()
	if err != nil {
		return err
	}
	needed := (v.clusters-1)/8 + 1
	batch := make([]byte, bitmapBatch)
	free := int64(-1) // where the run of free clusters starts that is under way
	for offset := int64(0); offset < needed; offset += bitmapBatch {
		n := min(bitmapBatch, needed-offset)
		if _, err := s.ReadAt(batch[:n], offset); err != nil {
			return fmt.Errorf("$Bitmap: %w", err)
		}
		for i := int64(0); i < n; i += 8 {
			word := binary.LittleEndian.Uint64(batch[i:])
			at := (offset + i) * 8 // the cluster of the word's lowest bit
			if left := v.clusters - at; left < 64 {
				word |= ^uint64(0) << left
			}
			for bit := 0; bit < 64; {
				if free < 0 {
					bit += bits.TrailingZeros64(^(word >> bit))
					if bit < 64 {
						free = at + int64(bit)
					}
					continue
				}
				bit += bits.TrailingZeros64(word >> bit)
				if bit < 64 {
					if !visit(free, at+int64(bit)-free) {
						return nil
					}
					free = -1
				}
			}
		}
	}
	if free >= 0 {
		visit(free, v.clusters-free)
	}
	return nil
}

// volumeBitmap is $DATA of $Bitmap: a bit a cluster, set if it is in use.
func (v *Volume) volumeBitmap() (*stream, error) {
	rec, err := v.baseRecord(recordBitmap)
	if err != nil {
		return nil, err
	}
	s, err := v.stream(rec, typeData, "")
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, corruptf("MFT record %d: $Bitmap has no $DATA", recordBitmap)
	}
	if s.flags&(flagSparse|flagEncrypted|flagCompressionMask) != 0 {
		return nil, corruptf("%s: $Bitmap with flags 0x%04x", s, s.flags)
	}
	// Bytes that were never written would read as zeros, that is, as free.
	if needed := (v.clusters-1)/8 + 1; s.initialized < needed {
		return nil, corruptf("%s: $Bitmap has %d bytes, want %d for %d clusters", s, s.initialized, needed, v.clusters)
	}
	return s, nil
}
