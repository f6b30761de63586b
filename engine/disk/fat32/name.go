package fat32

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// checkName tells whether a file or directory can have the name on FAT32 and
// be opened by Windows.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("an empty name: %w", ErrPath)
	case name == "." || name == "..":
		return fmt.Errorf("name %q: %w", name, ErrPath)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8: %w", name, ErrPath)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("name %q ends in a dot or space, which Windows ignores: %w", name, ErrPath)
	case len(utf16.Encode([]rune(name))) > maxNameUnits:
		return fmt.Errorf("name %q has more than %d UTF-16 code units: %w", name, maxNameUnits, ErrPath)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7F || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("name %q contains %q: %w", name, r, ErrPath)
		}
	}
	return nil
}

// foldName returns a key that is equal for names that differ only in case.
// It takes Unicode's simple case folding for that of Windows: names that it
// wrongly takes for equal are refused, never confused.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, name)
}

// isShortNameChar tells whether c can be in a short name. Lower case
// letters cannot; the characters above ASCII depend on a code page and are not
// used.
func isShortNameChar(c byte) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c != 0 && strings.IndexByte("$%'-_@~`!(){}^#&", c) >= 0
}

// shortName is a name as its directory entry has it: base and extension,
// padded with spaces.
type shortName [11]byte

func newShortName(base, ext string) (s shortName) {
	copy(s[:], "           ")
	copy(s[:8], base)
	copy(s[8:], ext)
	return s
}

// checksum ties a long name to its short name.
func (s shortName) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum<<7 | sum>>1
		sum += c
	}
	return sum
}

// plainShortName returns the short name of a name that is one but for its
// case. exact tells that the case is right too: it needs no long name.
func plainShortName(name string) (s shortName, exact, ok bool) {
	upper := asciiUpper(name)
	base, ext, dotted := strings.Cut(upper, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dotted && ext == "" {
		return s, false, false
	}
	for i := range base + ext {
		if c := (base + ext)[i]; !isShortNameChar(c) {
			return s, false, false
		}
	}
	return newShortName(base, ext), upper == name, true
}

func asciiUpper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// aliases gives out the short names of one directory.
type aliases struct {
	used map[shortName]bool
	next map[shortName]int // by what stays of the name before the tail
}

func newAliases() aliases {
	return aliases{used: map[shortName]bool{}, next: map[shortName]int{}}
}

// reserve takes a name that must stay as it is.
func (a aliases) reserve(s shortName) { a.used[s] = true }

// numbered returns a free short name with a numeric tail, made of name as the
// specification describes for long names.
func (a aliases) numbered(name string) (shortName, error) {
	name = strings.TrimLeft(name, ". ")
	base, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		base, ext = name[:dot], name[dot+1:]
	}
	base, ext = basis(base, 6), basis(ext, 3)
	if base == "" {
		base = "_"
	}
	key := newShortName(base, ext)
	for n := a.next[key] + 1; n <= 999999; n++ {
		tail := "~" + strconv.Itoa(n)
		s := newShortName(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !a.used[s] {
			a.used[s], a.next[key] = true, n
			return s, nil
		}
	}
	return shortName{}, fmt.Errorf("no short name left for %q: %w", name, ErrPath)
}

// basis is the part of a name that its short name keeps: at most limit
// characters, without spaces and dots, '_' for what a short name cannot have.
func basis(part string, limit int) string {
	b := make([]byte, 0, limit)
	for _, r := range part {
		switch {
		case len(b) == limit:
			return string(b)
		case r == ' ' || r == '.':
		case 'a' <= r && r <= 'z':
			b = append(b, byte(r-'a'+'A'))
		case r < utf8.RuneSelf && isShortNameChar(byte(r)):
			b = append(b, byte(r))
		default:
			b = append(b, '_')
		}
	}
	return string(b)
}
