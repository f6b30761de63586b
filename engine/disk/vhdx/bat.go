package vhdx

import "io"

// readBAT reads the entries that the virtual size needs. They lie in a region
// inside the file, so that the file's size bounds the memory.
func readBAT(r io.ReaderAt, where region, geo geometry, differencing bool) ([]batEntry, error) {
	off, count := int64(where.offset), geo.batEntries(differencing)
	if count*8 > int64(where.length) {
		return nil, corrupt("BAT", off, "found %d bytes, expected %d for a disk of %d bytes", where.length, count*8, geo.virtualSize)
	}
	bat := make([]batEntry, count)
	buf := make([]byte, min(count*8, mib))
	for i := int64(0); i < count; {
		p := buf[:min((count-i)*8, mib)]
		if err := readFull(r, "BAT", off+i*8, p); err != nil {
			return nil, err
		}
		for ; len(p) > 0; p = p[8:] {
			bat[i] = batEntry(le.Uint64(p))
			i++
		}
	}
	return bat, nil
}

// verifyBAT checks the states of all entries and claims the space of all
// blocks that have data, [MS-VHDX] 2.5.1. off is the BAT's file offset.
func verifyBAT(bat []batEntry, off int64, geo geometry, differencing bool, space *occupancy) error {
	for chunk := range geo.chunks() {
		index := geo.bitmapEntry(chunk)
		if index >= int64(len(bat)) {
			break // the last chunk of a fixed or dynamic image ends with its payload
		}
		entry, structure, at := bat[index], "sector bitmap BAT entry", off+index*8
		switch state := entry.state(); {
		case entry&batReservedMask != 0:
			return corrupt(structure, at, "found reserved bits in %#x", uint64(entry))
		case state == bitmapNotPresent:
		case state == bitmapPresent && differencing:
			if err := space.claimBlock(structure, at, entry, mib, mib); err != nil {
				return err
			}
		default:
			return corrupt(structure, at, "found state %d of bitmap %d, which is not valid here", state, chunk)
		}
	}
	for block := range geo.payloadBlocks() {
		index := geo.payloadEntry(block)
		entry, at := bat[index], off+index*8
		const structure = "payload BAT entry"
		if entry&batReservedMask != 0 {
			return corrupt(structure, at, "found reserved bits in %#x", uint64(entry))
		}
		switch state := entry.state(); state {
		case blockNotPresent, blockUndefined, blockZero, blockUnmapped:
			continue // the offset is reserved or a hint
		case blockFullyPresent:
		case blockPartiallyPresent:
			if !differencing {
				return corrupt(structure, at, "block %d is partially present in an image without parent", block)
			}
			if bat[geo.bitmapEntry(block/geo.chunkRatio)].state() != bitmapPresent {
				return corrupt(structure, at, "block %d is partially present, but has no sector bitmap", block)
			}
		default:
			return corrupt(structure, at, "found state %d of block %d, which is reserved", state, block)
		}
		if err := space.claimBlock(structure, at, entry, geo.blockSize, geo.blockLength(block)); err != nil {
			return err
		}
	}
	return nil
}

// claimBlock claims a block of size bytes of which the first needed bytes must
// be in the file: a last block may be as short as its disk.
func (o *occupancy) claimBlock(structure string, at int64, entry batEntry, size, needed int64) error {
	if entry.offsetMiB() > o.fileSize/mib {
		return corrupt(structure, at, "points to %#x MiB, but the file ends at %#x", entry.offsetMiB(), o.fileSize)
	}
	length := max(needed, min(size, o.fileSize-entry.offset()))
	return o.claim(structure, at, uint64(entry.offset()), uint64(length))
}
