package plan

import (
	"regexp"
	"strconv"
	"strings"
)

// Product is a subkey of Detect.Key as far as Detect looks at it.
type Product struct {
	Name    string // its value DisplayName
	Version string // its value DisplayVersion
}

// Holds reports whether one of the subkeys of Key is what is looked for.
func (d Detect) Holds(products []Product) bool {
	pattern, err := regexp.Compile(d.NamePattern)
	if err != nil {
		return false
	}
	for _, p := range products {
		if p.Name != "" && pattern.MatchString(p.Name) && sameVersion(p.Version, d.Version) {
			return true
		}
	}
	return false
}

// sameVersion reports whether have is equal to want in all the numbers that want
// has: 7.40.0.50 is a 7.40, and 7.4 is not. One that have lacks counts as 0.
func sameVersion(have, want string) bool {
	h, ok1 := numbers(have)
	w, ok2 := numbers(want)
	if !ok1 || !ok2 {
		return false
	}
	for i, n := range w {
		var m uint64
		if i < len(h) {
			m = h[i]
		}
		if m != n {
			return false
		}
	}
	return true
}

// numbers are those of a version: decimal, with dots between them.
func numbers(version string) ([]uint64, bool) {
	if len(version) > maxVersionText {
		return nil, false
	}
	var all []uint64
	for part := range strings.SplitSeq(strings.TrimSpace(version), ".") {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || part[0] == '+' {
			return nil, false
		}
		all = append(all, n)
	}
	return all, true
}
