package peversion

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// fixedSignature begins a VS_FIXEDFILEINFO.
const fixedSignature = 0xFEEF04BD

// parse reads a VS_VERSIONINFO.
func (v *Version) parse(resource []byte) error {
	root, _, ok := nextBlock(resource)
	if !ok || root.key != "VS_VERSION_INFO" {
		return fmt.Errorf("%w: it begins with the key %q, not \"VS_VERSION_INFO\"", ErrCorrupt, root.key)
	}
	v.fixed(root.value)
	table := root.strings()
	set := func(to *string, key string) {
		if s := table[key]; s != "" {
			*to = s
		}
	}
	set(&v.ProductName, "ProductName")
	set(&v.ProductVersion, "ProductVersion")
	set(&v.FileVersion, "FileVersion")
	set(&v.CompanyName, "CompanyName")
	if v.ProductVersion == "" {
		return fmt.Errorf("%w: it has no product version", ErrNoVersion)
	}
	return nil
}

// fixed takes the versions of a VS_FIXEDFILEINFO, if it is one.
func (v *Version) fixed(b []byte) {
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != fixedSignature {
		return
	}
	number := func(at int) string {
		high, low := binary.LittleEndian.Uint32(b[at:]), binary.LittleEndian.Uint32(b[at+4:])
		if high|low == 0 {
			return "" // nobody has set it
		}
		return fmt.Sprintf("%d.%d.%d.%d", high>>16, high&0xffff, low>>16, low&0xffff)
	}
	v.FileVersion, v.ProductVersion = number(8), number(16)
}

// strings gives the strings of a VS_VERSIONINFO: of the table in English, or the
// neutral one, or else the first.
func (root block) strings() map[string]string {
	var best map[string]string
	rank := 0
	for kind := range root.blocks {
		if kind.key != "StringFileInfo" {
			continue
		}
		for table := range kind.blocks {
			r := 1
			switch key := table.key; { // language and code page, in hexadecimal
			case strings.HasPrefix(key, "0409"):
				r = 3
			case strings.HasPrefix(key, "0000"):
				r = 2
			}
			if r <= rank {
				continue
			}
			rank, best = r, map[string]string{}
			for s := range table.blocks {
				best[s.key] = s.text()
			}
		}
	}
	return best
}

// block is the frame that all structures of a version resource have: lengths,
// a key, a value, and blocks in it.
type block struct {
	key string
	// value is of the length that the block gives.
	value []byte
	// body is all behind the key; rest is what is behind the value.
	body, rest []byte
}

// nextBlock reads the block that b begins with, and gives what is behind it. All
// blocks begin at multiples of four bytes from the first.
func nextBlock(b []byte) (bl block, behind []byte, ok bool) {
	const head = 6 // wLength, wValueLength, wType
	if len(b) < head {
		return block{}, nil, false
	}
	length, valueLength := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	if length < head {
		return block{}, nil, false // padding
	}
	if binary.LittleEndian.Uint16(b[4:]) == 1 { // text: in characters
		valueLength *= 2
	}
	length = min(length, len(b))
	behind = b[min(aligned(length), len(b)):]
	b = b[:length]
	key, n := terminated(b[head:])
	bl.key = key
	bl.body = b[min(aligned(head+n), length):]
	bl.value = bl.body[:min(valueLength, len(bl.body))]
	bl.rest = bl.body[min(aligned(len(bl.value)), len(bl.body)):]
	return bl, behind, true
}

func aligned(n int) int { return (n + 3) &^ 3 }

// blocks goes through the blocks in a block.
func (bl block) blocks(yield func(block) bool) {
	child, behind, ok := nextBlock(bl.rest)
	for ok && yield(child) {
		child, behind, ok = nextBlock(behind)
	}
}

// text is the value as a string. It ends where the terminator is, not after
// the length of the value: some linkers give that in bytes.
func (bl block) text() string {
	s, _ := terminated(bl.body)
	return strings.TrimSpace(s)
}

// terminated reads a UTF-16 string to its terminator, or to the end, and gives
// how many bytes it takes.
func terminated(b []byte) (s string, n int) {
	var units []uint16
	for ; n+1 < len(b); n += 2 {
		u := binary.LittleEndian.Uint16(b[n:])
		if u == 0 {
			return string(utf16.Decode(units)), n + 2
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units)), n
}
