package inject

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// encoding is that of a log.
type encoding int

const (
	utf8Text encoding = iota // also what is neither, as far as it is ASCII
	utf16le                  // with a byte order mark, as Windows Installer writes it
)

// byteOrderMark begins a text.
const byteOrderMark = '\uFEFF'

func encodingOf(head []byte) encoding {
	if len(head) >= 2 && binary.LittleEndian.Uint16(head) == byteOrderMark {
		return utf16le
	}
	return utf8Text
}

// longest is how many bytes at the end of a log may be needed for limit bytes of
// UTF-8. What was never written, at the very end of a log of a machine that was
// switched off, may be several pages of zeros.
func (e encoding) longest(limit int) int {
	const unwritten = 16 << 10
	if e == utf16le {
		return 2*limit + unwritten
	}
	return limit + unwritten
}

// tail gives the end of a text, which b holds, as valid UTF-8 of at most limit
// bytes. Lines end with a line feed alone, and control characters, among them
// zeros where nothing was written, are left out.
func (e encoding) tail(b []byte, limit int) string {
	text := ""
	if e == utf16le {
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
		text = string(utf16.Decode(units))
	} else {
		text = strings.ToValidUTF8(string(b), string(utf8.RuneError))
	}
	text = strings.Map(func(r rune) rune {
		if r == byteOrderMark || unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
	if len(text) <= limit {
		return text
	}
	text = text[len(text)-limit:]
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
}
