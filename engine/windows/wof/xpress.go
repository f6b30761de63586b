package wof

import "encoding/binary"

// xpress decodes chunks of LZ77+Huffman ([MS-XCA] 2.2).
type xpress struct {
	code    prefixCode
	lengths [maxSymbols]uint8
}

// expand fills dst with the content of one chunk of at most 64 KiB.
func (x *xpress) expand(dst, src []byte) error {
	if n, err := x.decode(dst, src); err != nil {
		return corruptf("at byte %d of %d of the content: %v", n, len(dst), err)
	}
	return nil
}

// decode tells how many bytes of dst it has filled.
func (x *xpress) decode(dst, src []byte) (int, error) {
	if len(src) < len(x.lengths)/2 {
		return 0, errShort
	}
	for i := range x.lengths {
		x.lengths[i] = src[i/2] >> (4 * (i % 2)) & 0xf
	}
	if !x.code.build(x.lengths[:]) {
		return 0, errCode
	}
	r := bitReader{src: src[len(x.lengths)/2:]}
	out := 0
	for out < len(dst) {
		symbol, err := x.code.next(&r)
		if err != nil {
			return out, err
		}
		if symbol < 256 {
			dst[out] = byte(symbol)
			out++
			continue
		}
		// 4 bits each of length less 3, and of the distance's binary
		// logarithm. Symbol 256 is a match, too: as end mark it comes behind
		// the last byte, where nobody looks.
		length, logarithm := symbol&0xf, symbol>>4&0xf
		r.fill() // the bytes come behind the word that is needed next
		if length == 0xf {
			b, ok := r.bytes(1)
			if !ok {
				return out, errShort
			}
			length += int(b[0])
			if b[0] == 0xff {
				if b, ok = r.bytes(2); !ok {
					return out, errShort
				}
				// Zero would announce 32 bits of length, more than a chunk.
				if length = int(binary.LittleEndian.Uint16(b)); length < 0xf {
					return out, errLength
				}
			}
		}
		length += 3
		distance := 1<<logarithm | r.bits(logarithm)
		if err := copyMatch(dst, out, distance, length); err != nil {
			return out, err
		}
		out += length
	}
	if r.overrun() {
		return out, errShort
	}
	return out, nil
}

// copyMatch repeats at dst[at] the length bytes that lie distance before, which
// may overlap.
func copyMatch(dst []byte, at, distance, length int) error {
	if distance <= 0 || distance > at {
		return errReference
	}
	if length > len(dst)-at {
		return errLength
	}
	if distance >= length {
		copy(dst[at:at+length], dst[at-distance:])
		return nil
	}
	for i := at; i < at+length; i++ {
		dst[i] = dst[i-distance]
	}
	return nil
}
