package wof

import "encoding/binary"

// bitReader reads a stream of 16-bit little-endian words, highest bit first,
// between which whole bytes may lie. Words that are missing at the end read as
// zeros, and overrun tells that such bits were used.
type bitReader struct {
	src   []byte
	at    int    // of the next word or byte; beyond the end if words were missing
	buf   uint32 // the next count bits, highest first, and zeros
	count int
}

// fill makes at least 16 bits available. It takes no word before it must:
// where bytes lie between words depends on how far ahead the words are read.
func (r *bitReader) fill() {
	if r.count >= 16 {
		return
	}
	if r.at+2 <= len(r.src) {
		r.buf |= uint32(binary.LittleEndian.Uint16(r.src[r.at:])) << (16 - r.count)
	}
	r.at += 2
	r.count += 16
}

// bits takes n bits, at most 16, all of which must be available.
func (r *bitReader) bits(n int) int {
	v := int(uint64(r.buf) >> (32 - n))
	r.buf <<= n
	r.count -= n
	return v
}

// next takes n bits, at most 16.
func (r *bitReader) next(n int) int {
	r.fill()
	return r.bits(n)
}

// bytes takes n bytes from behind the last word read.
func (r *bitReader) bytes(n int) ([]byte, bool) {
	if r.at > len(r.src) || n > len(r.src)-r.at {
		return nil, false
	}
	r.at += n
	return r.src[r.at-n : r.at], true
}

// align skips the rest of the word that the next bit is in, which may be all
// of it, so that bytes can follow.
func (r *bitReader) align() {
	used := 8*r.at - r.count
	r.at, r.buf, r.count = (used/16+1)*2, 0, 0
}

// overrun tells whether bits were used that do not exist.
func (r *bitReader) overrun() bool { return 8*r.at-r.count > 8*len(r.src) }
