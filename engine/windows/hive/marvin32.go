package hive

import "math/bits"

// The seed of the hashes in transaction logs, as two words.
const (
	marvinLow  = 0x7a4e55c5
	marvinHigh = 0x82ef4d88
)

// marvin32 is the Marvin32 hash that protects the entries of a transaction log.
// All that is hashed there is whole words, and so must b be.
func marvin32(b []byte) uint64 {
	lo, hi := uint32(marvinLow), uint32(marvinHigh)
	mix := func(word uint32) {
		lo += word
		hi ^= lo
		lo = bits.RotateLeft32(lo, 20) + hi
		hi = bits.RotateLeft32(hi, 9) ^ lo
		lo = bits.RotateLeft32(lo, 27) + hi
		hi = bits.RotateLeft32(hi, 19)
	}
	for ; len(b) >= 4; b = b[4:] {
		mix(le.Uint32(b))
	}
	mix(0x80) // the byte that marks the end
	mix(0)
	return uint64(hi)<<32 | uint64(lo)
}
