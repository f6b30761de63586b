package wof

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// bitWriter is the inverse of bitReader.
type bitWriter struct {
	b     []byte
	word  uint16
	count int
}

func (w *bitWriter) bits(value, n int) {
	for n--; n >= 0; n-- {
		w.word = w.word<<1 | uint16(value>>n&1)
		if w.count++; w.count == 16 {
			w.b = binary.LittleEndian.AppendUint16(w.b, w.word)
			w.word, w.count = 0, 0
		}
	}
}

// align fills up to the next word: a whole one if there is nothing to fill.
func (w *bitWriter) align() { w.bits(0, 16-w.count) }

func (w *bitWriter) flush() []byte {
	if w.count > 0 {
		w.align()
	}
	return w.b
}

// header begins a block.
func (w *bitWriter) header(kind, size int) {
	w.bits(kind, 3)
	if size == lzxWindow {
		w.bits(1, 1)
		return
	}
	w.bits(0, 1)
	w.bits(size, 16)
}

// lzxWriter makes a chunk, and the content that it must expand to.
type lzxWriter struct {
	bitWriter
	want    []byte
	aligned bool // in the block that is being written
	coded   bool // a block with codes came before
}

// uncompressed writes a block that wimlib never makes, but Windows may.
func (w *lzxWriter) uncompressed(content []byte, recent ...uint32) {
	w.header(blockUncompressed, len(content))
	w.align()
	for _, d := range recent {
		w.b = binary.LittleEndian.AppendUint32(w.b, d)
	}
	w.b = append(w.b, content...)
	if len(content)%2 != 0 {
		w.b = append(w.b, 0)
	}
	w.want = append(w.want, content...)
}

// block begins a verbatim or aligned block with codes of 9 bits for literals,
// of 8 for the matches of slots 0 to 15, of 1 for two lengths, and of 3 for low
// bits of distances.
func (w *lzxWriter) block(kind, size int) {
	w.header(kind, size)
	w.aligned = kind == blockAligned
	if w.aligned {
		for range lzxAlignSymbols {
			w.bits(3, 3)
		}
	}
	// Differences from the lengths before: 17 less the length from none, or 0
	// if they are those of the last block.
	step := func(length int) int {
		if w.coded || length == 0 {
			return 0
		}
		return 17 - length
	}
	w.differences(256, step(9), 256)
	w.differences(128, step(8), 8*lzxSlots)
	w.differences(2, step(1), lzxLenSymbols)
	w.coded = true
}

// differences writes n code lengths: the first few change by a step, the
// others do not change.
func (w *lzxWriter) differences(few, step, n int) {
	pre := make([]int, lzxPreSymbols) // a pre-code of two symbols: 0, and the step
	pre[0], pre[max(step, 1)] = 1, 1
	for _, length := range pre {
		w.bits(length, 4)
	}
	for i := range n {
		if i < few && step > 0 {
			w.bits(1, 1)
		} else {
			w.bits(0, 1)
		}
	}
}

func (w *lzxWriter) literals(content []byte) {
	for _, c := range content {
		w.bits(256+int(c), 9)
	}
	w.want = append(w.want, content...)
}

// match writes a match of 2 to 10 bytes by its slot and the bits that follow,
// which the caller knows to mean that distance.
func (w *lzxWriter) match(slot, footer, length, distance int) {
	w.bits(slot*8+min(length-2, 7), 8)
	if length >= 9 {
		w.bits(length-9, 1)
	}
	if slot > 3 {
		bits := slot/2 - 1
		w.bits(footer, bits) // the low 3 bits of an aligned block have codes of their own value
	}
	for range length {
		w.want = append(w.want, w.want[len(w.want)-distance])
	}
}

// TestLZXBlocks decodes sequences of blocks that wimlib does not make.
func TestLZXBlocks(t *testing.T) {
	check := func(name string, w *lzxWriter) {
		t.Helper()
		got := make([]byte, len(w.want))
		if err := new(lzx).expand(got, w.flush()); err != nil || !bytes.Equal(got, w.want) {
			t.Errorf("%s: differs at %d of %d, %v", name, firstDifference(got, w.want), len(got), err)
		}
	}
	noise := bytes.ReplaceAll(random(1, lzxWindow), []byte{0xe8}, []byte{0xe9}) // no calls
	w := new(lzxWriter)
	w.uncompressed(noise, 1, 1, 1)
	check("a whole chunk", w)

	w = new(lzxWriter)
	w.uncompressed(noise[:33], 1, 1, 1)
	w.uncompressed(noise[33:100], 1, 1, 1)
	w.uncompressed(noise[100:200], 1, 1, 1)
	w.uncompressed(noise[:7], 1, 1, 1)
	check("uncompressed blocks only", w)
	short := w.flush()
	if err := new(lzx).expand(make([]byte, len(w.want)), short[:len(short)-1]); err != nil {
		t.Errorf("without the last padding: %v", err)
	}

	for n := range 33 { // uncompressed blocks after every number of bits
		w = new(lzxWriter)
		w.block(blockVerbatim, n+40)
		w.literals(noise[:n+40])
		w.uncompressed(noise[100:100+n+1], 7, 3, 20)
		w.block(blockAligned, 10+5+7+2+9+10+8)
		w.literals(noise[200:210])
		w.match(2, 0, 5, 20) // 20 3 7
		w.match(2, 0, 7, 7)  // 7 3 20
		w.match(1, 0, 2, 3)  // 3 7 20
		w.match(6, 1, 9, 8+1-2)
		w.match(9, 5, 10, 24+5-2)
		w.match(0, 0, 8, 24+5-2)
		check("three kinds", w)
	}

	w = new(lzxWriter)
	w.block(blockVerbatim, 300+4+6+3)
	w.literals(noise[:300])
	w.match(15, 63, 4, 192+63-2)
	w.match(14, 10, 6, 128+10-2)
	w.match(3, 0, 3, 1)
	check("far matches", w)
}

// TestLZXCalls translates operands at the edges of what is translated.
func TestLZXCalls(t *testing.T) {
	for _, c := range []struct {
		name             string
		at, absolute, as int32
		translated       bool
	}{
		{"forward", 100, 5000, 4900, true},
		{"zero", 100, 0, -100, true},
		{"the highest", 100, callFileSize - 1, callFileSize - 101, true},
		{"too high", 100, callFileSize, 0, false},
		{"the lowest", 100, -100, callFileSize - 100, true},
		{"too low", 100, -101, 0, false},
		{"the last place", 201, 300, 99, true},
		{"in the last ten bytes", 202, 300, 0, false},
	} {
		b := make([]byte, 212)
		b[c.at] = 0xe8
		binary.LittleEndian.PutUint32(b[c.at+1:], uint32(c.absolute))
		want := bytes.Clone(b)
		if c.translated {
			binary.LittleEndian.PutUint32(want[c.at+1:], uint32(c.as))
		}
		restoreCalls(b)
		if !bytes.Equal(b, want) {
			t.Errorf("%s: %x, want %x", c.name, b[c.at:c.at+5], want[c.at:c.at+5])
		}
	}
	restoreCalls([]byte{0xe8}) // shorter than what is never translated
}
