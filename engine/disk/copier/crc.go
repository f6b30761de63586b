package copier

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRCs are polynomials over GF(2) modulo the Castagnoli polynomial, in the
// usual reflected form: the highest bit is the coefficient of x^0. Appending n
// bytes multiplies the register by x^(8n), which is how the CRC of a whole
// comes from the CRCs of its parts.
const (
	crcOne = 1 << 31 // x^0
	crcX8  = 1 << 23 // x^8
)

// crcMultiply is a*b modulo the polynomial.
func crcMultiply(a, b uint32) uint32 {
	var product uint32
	for ; a != 0; a <<= 1 {
		if a&crcOne != 0 {
			product ^= b
		}
		// b times x: what leaves at the lowest bit is x^32.
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return product
}

// crcShift is x^(8n), the factor for n bytes.
func crcShift(n int64) uint32 {
	power, square := uint32(crcOne), uint32(crcX8)
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = crcMultiply(power, square)
		}
		square = crcMultiply(square, square)
	}
	return power
}

// crcConcat is the CRC of a followed by b, which is n bytes long. The
// inversions before and after cancel out.
func crcConcat(a, b uint32, n int64) uint32 { return crcMultiply(a, crcShift(n)) ^ b }

// crcZeros is the CRC of n zero bytes.
func crcZeros(n int64) uint32 { return ^crcMultiply(^uint32(0), crcShift(n)) }
