package kmod

// match is fnmatch(3) without flags, as depmod's aliases need it: * fits any
// text (slashes too), ? any byte, [a-c] one of a set and [!a-c] one of all
// others. A pattern that ends within a set fits nothing.
func match(pattern, text string) bool {
	// Where to go on if what follows the last * did not fit: one byte later.
	// No earlier * needs another try, so the time is at most the product of
	// the two lengths.
	p, t, star, from := 0, 0, -1, 0
	for t < len(text) {
		next, ok := -1, false
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, from = p, t
				p++
				continue
			}
			next, ok = matchByte(pattern, p, text[t])
		}
		switch {
		case ok:
			p, t = next, t+1
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchByte matches what begins at p, which is not a *, with one byte. It gives
// where the pattern goes on.
func matchByte(pattern string, p int, b byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchSet(pattern, p+1, b)
	}
	return p + 1, pattern[p] == b
}

func matchSet(pattern string, p int, b byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '!'
	if not {
		p++
	}
	in := false
	for first := p; p < len(pattern); p++ {
		if pattern[p] == ']' && p > first {
			return p + 1, in != not
		}
		low, high := pattern[p], pattern[p]
		if p+2 < len(pattern) && pattern[p+1] == '-' && pattern[p+2] != ']' {
			high = pattern[p+2]
			p += 2
		}
		in = in || low <= b && b <= high
	}
	return p, false
}
