package ntfs

import (
	"encoding/binary"
	"fmt"
)

// chunkSize is the number of bytes that one LZNT1 chunk decompresses to.
const chunkSize = 4096

// decompress expands LZNT1 ([MS-XCA] 2.5) into dst, which must be zeroed: what
// src does not reach, including the rest of a chunk that ends early, is left
// as it is.
func decompress(dst, src []byte) error {
	for at, out := 0, 0; out < len(dst) && at+2 <= len(src); out += chunkSize {
		// 12 bits of size less 3 with the header, 3 bits of signature, which
		// Windows does not check, and whether the chunk is compressed.
		header := binary.LittleEndian.Uint16(src[at:])
		if header == 0 {
			return nil
		}
		end := at + int(header&0xfff) + 3
		if end > len(src) {
			return fmt.Errorf("LZNT1 chunk at 0x%x ends at 0x%x, beyond the data", at, end)
		}
		chunk := dst[out:min(out+chunkSize, len(dst))]
		if header&0x8000 == 0 {
			if end-at-2 > len(chunk) {
				return fmt.Errorf("LZNT1 chunk at 0x%x stores %d bytes", at, end-at-2)
			}
			copy(chunk, src[at+2:end])
		} else if err := decompressChunk(chunk, src[at+2:end]); err != nil {
			return fmt.Errorf("LZNT1 chunk at 0x%x: %v", at, err)
		}
		at = end
	}
	return nil
}

// decompressChunk expands the data of one chunk: groups of a byte of eight
// flags, lowest first, and eight elements: literal bytes where the flag is
// clear, else references of 16 bits to bytes before.
func decompressChunk(dst, src []byte) error {
	out := 0
	for at := 0; at < len(src); {
		flags := src[at]
		at++
		for bit := 0; bit < 8 && at < len(src); bit++ {
			if flags>>bit&1 == 0 {
				if out == len(dst) {
					return fmt.Errorf("more than %d bytes", len(dst))
				}
				dst[out] = src[at]
				out, at = out+1, at+1
				continue
			}
			if at+2 > len(src) {
				return fmt.Errorf("reference at 0x%x is cut short", at)
			}
			token := int(binary.LittleEndian.Uint16(src[at:]))
			at += 2
			// The further into the chunk, the more of the 16 bits are needed
			// for the distance (at least 4), and the fewer remain for length.
			lengthBits := 12
			for 1<<(16-lengthBits) < out {
				lengthBits--
			}
			distance := token>>lengthBits + 1
			length := token&(1<<lengthBits-1) + 3
			if distance > out || length > len(dst)-out {
				return fmt.Errorf("reference of %d bytes, %d back, at %d of %d", length, distance, out, len(dst))
			}
			for range length { // byte by byte: the two may overlap
				dst[out] = dst[out-distance]
				out++
			}
		}
	}
	return nil
}
