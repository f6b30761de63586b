package deb

import (
	"cmp"
	"strings"
)

// CompareVersions compares two versions of a package, [epoch:]upstream[-revision],
// as Debian Policy 5.6.12 orders them: negative if a is the older one.
func CompareVersions(a, b string) int {
	aEpoch, aUpstream, aRevision := splitVersion(a)
	bEpoch, bUpstream, bRevision := splitVersion(b)
	return cmp.Or(compareDigits(aEpoch, bEpoch), compareParts(aUpstream, bUpstream), compareParts(aRevision, bRevision))
}

func splitVersion(v string) (epoch, upstream, revision string) {
	upstream = v
	if before, after, ok := strings.Cut(v, ":"); ok {
		epoch, upstream = before, after
	}
	if i := strings.LastIndexByte(upstream, '-'); i >= 0 {
		upstream, revision = upstream[:i], upstream[i+1:]
	}
	return epoch, upstream, revision
}

// compareParts compares runs of other characters and runs of digits in turn.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		var aRun, bRun string
		aRun, a = cutRun(a, false)
		bRun, b = cutRun(b, false)
		if c := compareText(aRun, bRun); c != 0 {
			return c
		}
		aRun, a = cutRun(a, true)
		bRun, b = cutRun(b, true)
		if c := compareDigits(aRun, bRun); c != 0 {
			return c
		}
	}
	return 0
}

// cutRun cuts off what begins s and is all digits, or has none.
func cutRun(s string, digits bool) (run, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) == digits {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// compareDigits compares numbers of any length; none is zero.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// compareText has a tilde before the end, the end before letters, and letters
// before all others.
func compareText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

func weight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z':
		return int(s[i])
	}
	return int(s[i]) + 256
}
