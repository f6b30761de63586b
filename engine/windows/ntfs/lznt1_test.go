package ntfs

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestDecompress(t *testing.T) {
	fromHex := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	song := "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\x00"
	for _, c := range []struct {
		name, src string
		want      []byte
		fails     bool
	}{
		{name: "the example of [MS-XCA] 3.3", src: "38 b0 88 46 23 20 00 20 47 20 41 00 10 a2 47 01 a0 45 20 44 00 08 45 01 50 79 00 c0 45 20 05 24 13 88 05 b4 02 4a 44 ef 03 58 02 8c 09 16 01 48 45 00 be 00 9e 00 04 01 18 90 00", want: []byte(song)},
		{name: "nothing", src: "00 00"},
		{name: "stored", src: "02 30 61 62 63", want: []byte("abc")},
		{name: "longest run", src: "03 b0 02 61 fc 0f 00 00", want: bytes.Repeat([]byte("a"), 4096)},
		{name: "second chunk after a short one", src: "01 b0 00 61 02 30 62 62 62", want: append(append([]byte("a"), make([]byte, 4095)...), "bbb"...)},
		{name: "chunk beyond the data", src: "ff bf 00 61", fails: true},
		{name: "reference before the chunk", src: "03 b0 02 61 00 10", fails: true},
		{name: "reference at the very start", src: "02 b0 01 00 00", fails: true},
		{name: "reference cut short", src: "02 b0 02 61 00", fails: true},
		{name: "more than a chunk", src: "04 b0 06 61 fd 0f 00 00", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := make([]byte, 2*chunkSize)
			err := decompress(dst, fromHex(c.src))
			if (err != nil) != c.fails {
				t.Fatalf("decompress: %v", err)
			}
			if want := append(c.want, make([]byte, len(dst)-len(c.want))...); !c.fails && !bytes.Equal(dst, want) {
				t.Errorf("differs at %d: %q", firstDifference(dst, want), dst[:200])
			}
		})
	}
}
