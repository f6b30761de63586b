package wof

// Bounds of the prefix codes of both formats.
const (
	maxCodeLength = 16
	maxSymbols    = 512
	// rootBits is the length of the codes that one look-up decodes.
	rootBits = 10
)

// prefixCode is a canonical Huffman code: codes of one length are consecutive
// in the order of their symbols, and follow the shorter ones. A code of no
// symbols is valid, as long as it is not used.
type prefixCode struct {
	root [1 << rootBits]uint16 // symbol<<4 | length, by the next bits; 0: longer than rootBits
	// limit is, by length, where the codes of that length end, as 16 bits;
	// index is that of their first symbol in sorted, less their first code.
	limit  [maxCodeLength + 1]int32
	index  [maxCodeLength + 1]int32
	sorted [maxSymbols]uint16 // by length, then symbol
}

// build takes the code lengths of all symbols, zero for those without a code.
// It reports false unless they make a complete code, or none.
func (c *prefixCode) build(lengths []uint8) bool {
	var count [maxCodeLength + 1]int32
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	clear(c.root[:])
	code, symbols := int32(0), int32(0)
	var place [maxCodeLength + 1]int32 // in sorted, of the next symbol by length
	for n := 1; n <= maxCodeLength; n++ {
		code <<= 1
		place[n], c.index[n] = symbols, symbols-code
		code += count[n]
		symbols += count[n]
		if code > 1<<n {
			return false
		}
		c.limit[n] = code << (maxCodeLength - n)
	}
	if code != 1<<maxCodeLength && symbols > 0 {
		return false
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		at := place[n]
		c.sorted[at] = uint16(symbol)
		place[n]++
		if n <= rootBits {
			// The code, and whatever bits may follow it.
			first := (at - c.index[n]) << (rootBits - n)
			entry := uint16(symbol)<<4 | uint16(n)
			for i := range int32(1) << (rootBits - n) {
				c.root[first+i] = entry
			}
		}
	}
	return true
}

// next takes one code and gives its symbol. It fails if the code has none.
func (c *prefixCode) next(r *bitReader) (int, error) {
	r.fill()
	if e := c.root[r.buf>>(32-rootBits)]; e != 0 {
		r.bits(int(e & 0xf))
		return int(e >> 4), nil
	}
	next := int32(r.buf >> 16)
	for n := rootBits + 1; n <= maxCodeLength; n++ {
		if next < c.limit[n] {
			r.bits(n)
			return int(c.sorted[c.index[n]+next>>(maxCodeLength-n)]), nil
		}
	}
	return 0, errNoSymbol
}
