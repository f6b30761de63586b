package hive

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

var le = binary.LittleEndian

// encodeUTF16 returns s as UTF-16LE, without a terminator.
func encodeUTF16(s string) []byte {
	units := utf16.Encode([]rune(s))
	b := make([]byte, 2*len(units))
	for i, u := range units {
		le.PutUint16(b[2*i:], u)
	}
	return b
}

// decodeUTF16 decodes UTF-16LE; an odd last byte is dropped.
func decodeUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// encodeName returns a name as it is stored in a key or value cell: one byte a
// character ("compressed") when all are Latin-1, else UTF-16LE.
func encodeName(s string) (b []byte, compressed bool) {
	for _, r := range s {
		if r > 0xff {
			return encodeUTF16(s), false
		}
	}
	b = make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b, true
}

func decodeName(b []byte, compressed bool) string {
	if !compressed {
		return decodeUTF16(b)
	}
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// upcaseRune is the upper-casing that the configuration manager sorts, hashes
// and compares names with: one UTF-16 unit to one unit, by the kernel's table.
// That table leaves some letters alone that Unicode maps to another letter's
// capital, and everything outside the basic plane.
func upcaseRune(r rune) rune {
	switch {
	case r < 0x80:
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	case r == 'µ' || r == 'ı' || r == 'ſ' || r > 0xffff:
		return r
	}
	return unicode.ToUpper(r)
}

func upcase(s string) string { return strings.Map(upcaseRune, s) }

func sameName(a, b string) bool { return a == b || upcase(a) == upcase(b) }

// compareNames orders names as subkey lists are ordered: by the UTF-16 units of
// their upper case.
func compareNames(a, b string) int {
	x, y := utf16.Encode([]rune(upcase(a))), utf16.Encode([]rune(upcase(b)))
	for i := 0; i < len(x) && i < len(y); i++ {
		if x[i] != y[i] {
			return int(x[i]) - int(y[i])
		}
	}
	return len(x) - len(y)
}

// nameHash is the hash of a name in an lh list.
func nameHash(s string) uint32 {
	var h uint32
	for _, u := range utf16.Encode([]rune(upcase(s))) {
		h = h*37 + uint32(u)
	}
	return h
}

// splitPath splits path elements that hold backslashes, and drops empty ones.
func splitPath(path []string) []string {
	var parts []string
	for _, p := range path {
		for _, s := range strings.Split(p, `\`) {
			if s != "" {
				parts = append(parts, s)
			}
		}
	}
	return parts
}

// A FILETIME counts 100 ns since 1601-01-01 UTC; this many seconds lie between
// that and the Unix epoch.
const filetimeEpoch = 11644473600

func fromFiletime(ft uint64) time.Time {
	return time.Unix(int64(ft/1e7)-filetimeEpoch, int64(ft%1e7)*100).UTC()
}

// toFiletime is 0 for times before 1601, the zero time among them.
func toFiletime(t time.Time) uint64 {
	s := t.Unix() + filetimeEpoch
	if s < 0 {
		return 0
	}
	return uint64(s)*1e7 + uint64(t.Nanosecond())/100
}
