package ntfs

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf16"
)

// upCase is the volume's own table of upper case UTF-16 code units; units
// beyond its end are their own upper case.
type upCase []uint16

func (v *Volume) readUpCase() (upCase, error) {
	rec, err := v.record(recordUpCase)
	if err != nil {
		return nil, err
	}
	b, err := v.value(rec, typeData, 1<<17)
	if err != nil {
		return nil, err
	}
	if len(b) < 2*128 {
		return nil, corruptf("MFT record %d, $DATA: an upper case table of %d bytes", recordUpCase, len(b))
	}
	return decodeUnits(b), nil
}

func (t upCase) upper(c uint16) uint16 {
	if int(c) < len(t) {
		return t[c]
	}
	return c
}

// compare orders names as directories do (COLLATION_FILENAME), by upper case
// code unit: negative, zero or positive.
func (t upCase) compare(a, b []uint16) int {
	for i := range min(len(a), len(b)) {
		if x, y := t.upper(a[i]), t.upper(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// maxPath is the longest path that Windows can name, in UTF-16 code units.
const maxPath = 32767

// splitPath gives the components of a path; none for the root.
func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '\\' || c == '/' })
}

func encodeName(s string) []uint16 { return utf16.Encode([]rune(s)) }

// decodeName decodes UTF-16. Lone surrogates, which NTFS permits in names,
// become U+FFFD: such a file is listed, but cannot be opened by that name.
func decodeName(units []uint16) string { return string(utf16.Decode(units)) }

func decodeUnits(b []byte) []uint16 {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return units
}

// fileTime converts a count of 100 ns since 1601 in UTC.
func fileTime(b []byte) time.Time {
	t := binary.LittleEndian.Uint64(b)
	const perSecond, unixEpoch = 10_000_000, 11_644_473_600
	return time.Unix(int64(t/perSecond)-unixEpoch, int64(t%perSecond)*100).UTC()
}
