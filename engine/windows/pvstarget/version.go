package pvstarget

import (
	"cmp"
	"strings"
)

// Compare compares versions such as 7.41.100.62 number by number: -1 if a is
// older, 1 if it is newer. What one has no number for is 0, so that 7.40 and
// 7.40.0 are the same. What follows the digits of a number counts after it, as
// text.
func Compare(a, b string) int {
	x, y := components(a), components(b)
	for i := range max(len(x), len(y)) {
		if c := compareComponents(component(x, i), component(y, i)); c != 0 {
			return c
		}
	}
	return 0
}

// Matches reports whether a version is the one that is wanted: equal in all the
// numbers that that one has, so that 7.40.0.50 is a 7.40. Nothing is a version
// that is wanted if none is.
func Matches(have, want string) bool {
	x, y := components(have), components(want)
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	for i := range y {
		if compareComponents(component(x, i), y[i]) != 0 {
			return false
		}
	}
	return true
}

func components(version string) []string {
	version = strings.TrimSpace(version)
	if version == "" {
		return nil
	}
	return strings.Split(version, ".")
}

func component(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// compareComponents compares numbers of any length.
func compareComponents(a, b string) int {
	x, textX := digits(a)
	y, textY := digits(b)
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(textX, textY))
}

// digits splits the number, without leading zeros, from what follows it.
func digits(s string) (number, rest string) {
	s = strings.TrimSpace(s)
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}
