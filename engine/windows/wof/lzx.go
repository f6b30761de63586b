package wof

import "encoding/binary"

// Types of a block ([MS-PATCH] 2.3).
const (
	blockVerbatim     = 1
	blockAligned      = 2
	blockUncompressed = 3
)

// Sizes of the codes for a window of 32 KiB.
const (
	lzxWindow       = 32 << 10
	lzxSlots        = 30 // of match distances
	lzxMainSymbols  = 256 + 8*lzxSlots
	lzxLenSymbols   = 249
	lzxPreSymbols   = 20
	lzxAlignSymbols = 8
)

// lzx decodes chunks of LZX.
type lzx struct {
	pre, main, length, align prefixCode
	// The lengths of the codes of a block are differences from the ones before.
	mainLengths   [lzxMainSymbols]uint8
	lengthLengths [lzxLenSymbols]uint8
	recent        [3]int // the last distances
}

// expand fills dst with the content of one chunk of at most 32 KiB.
func (x *lzx) expand(dst, src []byte) error {
	clear(x.mainLengths[:])
	clear(x.lengthLengths[:])
	x.recent = [3]int{1, 1, 1}
	r := bitReader{src: src}
	for out := 0; out < len(dst); {
		n, err := x.block(&r, dst, out)
		out += n
		if err == nil && r.overrun() {
			err = errShort
		}
		if err != nil {
			return corruptf("at byte %d of %d of the content: %v", out, len(dst), err)
		}
	}
	restoreCalls(dst)
	return nil
}

// block decodes one block, which fills dst from out on, and tells how many
// bytes it has filled.
func (x *lzx) block(r *bitReader, dst []byte, out int) (int, error) {
	kind := r.next(3)
	size := lzxWindow
	if r.next(1) == 0 {
		size = r.next(16)
	}
	if r.overrun() {
		return 0, errShort
	}
	if size == 0 || size > len(dst)-out {
		return 0, errLength
	}
	switch kind {
	case blockVerbatim, blockAligned:
		if err := x.readCodes(r, kind == blockAligned); err != nil {
			return 0, err
		}
		return x.matches(r, dst[:out+size], out, kind == blockAligned)
	case blockUncompressed:
		return size, x.stored(r, dst[out:out+size])
	}
	return 0, errBlockType
}

// stored copies the content of an uncompressed block (2.3.2.1): the recent
// distances, in 4 bytes each, then the bytes.
func (x *lzx) stored(r *bitReader, dst []byte) error {
	r.align()
	b, ok := r.bytes(12)
	if !ok {
		return errShort
	}
	for i := range x.recent {
		// Above the window, all are as good as the lowest: they reach before
		// the chunk when used.
		x.recent[i] = int(min(binary.LittleEndian.Uint32(b[4*i:]), lzxWindow+1))
	}
	if b, ok = r.bytes(len(dst)); !ok {
		return errShort
	}
	copy(dst, b)
	if len(dst)%2 != 0 { // words are aligned; at the end of a chunk the padding may be left out
		r.bytes(1)
	}
	return nil
}

// readCodes reads the codes of a verbatim or aligned block (2.3.2.2, 2.3.2.3).
func (x *lzx) readCodes(r *bitReader, aligned bool) error {
	if aligned {
		var lengths [lzxAlignSymbols]uint8
		for i := range lengths {
			lengths[i] = uint8(r.next(3))
		}
		if !x.align.build(lengths[:]) {
			return errCode
		}
	}
	// Literals, matches, and lengths have a pre-code each.
	for _, lengths := range [][]uint8{x.mainLengths[:256], x.mainLengths[256:], x.lengthLengths[:]} {
		if err := x.readLengths(r, lengths); err != nil {
			return err
		}
	}
	if !x.main.build(x.mainLengths[:]) || !x.length.build(x.lengthLengths[:]) {
		return errCode
	}
	return nil
}

// readLengths changes code lengths by what the stream says, behind the
// pre-code for that.
func (x *lzx) readLengths(r *bitReader, lengths []uint8) error {
	var preLengths [lzxPreSymbols]uint8
	for i := range preLengths {
		preLengths[i] = uint8(r.next(4))
	}
	if !x.pre.build(preLengths[:]) {
		return errCode
	}
	for i := 0; i < len(lengths); {
		symbol, err := x.pre.next(r)
		if err != nil {
			return err
		}
		run := 1
		switch symbol {
		case 17:
			run = 4 + r.next(4)
		case 18:
			run = 20 + r.next(5)
		case 19:
			run = 4 + r.next(1)
			if symbol, err = x.pre.next(r); err != nil {
				return err
			}
			if symbol > 16 {
				return errRun
			}
		}
		if run > len(lengths)-i {
			return errRun
		}
		length := uint8(0)
		if symbol <= 16 {
			length = uint8((int(lengths[i]) + 17 - symbol) % 17)
		}
		for range run {
			lengths[i] = length
			i++
		}
	}
	return nil
}

// matches decodes the literals and matches of a block, which fills dst from out
// on, and tells how many bytes it has filled.
func (x *lzx) matches(r *bitReader, dst []byte, out int, aligned bool) (int, error) {
	start := out
	for out < len(dst) {
		s, err := x.main.next(r)
		if err != nil {
			return out - start, err
		}
		if s < 256 {
			dst[out] = byte(s)
			out++
			continue
		}
		length, slot := s&7, (s-256)>>3
		if length == 7 {
			if s, err = x.length.next(r); err != nil {
				return out - start, err
			}
			length += s
		}
		length += 2
		distance, err := x.distance(r, slot, aligned)
		if err == nil {
			err = copyMatch(dst, out, distance, length)
		}
		if err != nil {
			return out - start, err
		}
		out += length
	}
	return out - start, nil
}

// distance reads the rest of a match distance: the first three slots are the
// recent ones, of which the one used moves to the front.
func (x *lzx) distance(r *bitReader, slot int, aligned bool) (int, error) {
	if slot < 3 {
		d := x.recent[slot]
		x.recent[slot] = x.recent[0]
		x.recent[0] = d
		return d, nil
	}
	base, footer := slotBase(slot)
	d := base - 2
	switch {
	case aligned && footer >= 3:
		d += r.next(footer-3) << 3
		low, err := x.align.next(r)
		if err != nil {
			return 0, err
		}
		d += low
	default:
		d += r.next(footer)
	}
	x.recent = [3]int{d, x.recent[0], x.recent[1]}
	return d, nil
}

// slotBase gives the lowest formatted distance of a slot, and how many bits
// follow: two slots for each power of two.
func slotBase(slot int) (base, footer int) {
	if slot < 4 {
		return slot, 0
	}
	footer = slot/2 - 1
	return (2 + slot%2) << footer, footer
}

// callFileSize is the file size that the translation of calls assumes.
const callFileSize = 12_000_000

// restoreCalls undoes the translation of x86 call instructions (E8 call
// translation): the operands of bytes 0xe8 were made absolute, whether they are calls
// or not. The last ten bytes of a chunk have none.
func restoreCalls(b []byte) {
	for i := 0; i < len(b)-10; i++ {
		if b[i] != 0xe8 {
			continue
		}
		operand := b[i+1 : i+5]
		absolute := int32(binary.LittleEndian.Uint32(operand))
		switch {
		case absolute >= 0 && absolute < callFileSize:
			binary.LittleEndian.PutUint32(operand, uint32(absolute-int32(i)))
		case absolute < 0 && absolute >= -int32(i):
			binary.LittleEndian.PutUint32(operand, uint32(absolute+callFileSize))
		}
		i += 4
	}
}
