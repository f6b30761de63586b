// Package winereg reads and writes the text files in which Wine keeps its
// registry, as far as a machine's part of it goes (system.reg): keys and values
// with the types and bytes that a hive has. Times, classes and links are skipped.
// The files are those of a Wine of our own, not anybody's: what is malformed is
// an error that names the line.
package winereg

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"imageport/engine/windows/hive"
)

// Key is one key: its path below HKEY_LOCAL_MACHINE, and its values.
type Key struct {
	Path   string // with backslashes
	Values []hive.Value
}

// Write appends keys to a file that Wine has written, or to an empty one. Wine
// reads a key that it has read before as an addition to it.
func Write(w io.Writer, modified time.Time, keys []Key) error {
	out := bufio.NewWriter(w)
	for _, k := range keys {
		fmt.Fprintf(out, "\n[%s] %d\n", escapePath(k.Path), modified.Unix())
		for _, v := range k.Values {
			name := "@"
			if v.Name != "" {
				name = `"` + escape(v.Name, `"\`) + `"`
			}
			fmt.Fprintf(out, "%s=hex(%x):", name, v.Type)
			for i, b := range v.Data {
				if i > 0 {
					out.WriteByte(',')
				}
				fmt.Fprintf(out, "%02x", b)
			}
			out.WriteByte('\n')
		}
	}
	return out.Flush()
}

// Read reads a whole file. A key that is in it twice is given once, with what was
// said last.
func Read(text []byte) ([]Key, error) {
	r := reader{index: map[string]int{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		r.line++
		line := lines.Text()
		// Long binary values go on in the next line.
		for strings.HasSuffix(line, `\`) && !strings.HasPrefix(line, "[") && lines.Scan() {
			r.line++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines.Text())
		}
		if err := r.read(line); err != nil {
			return nil, fmt.Errorf("winereg: line %d: %w: %.80q", r.line, err, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("winereg: line %d: %w", r.line, err)
	}
	return r.keys, nil
}

type reader struct {
	line  int
	keys  []Key
	index map[string]int // of the lower-case path in keys
	now   int            // index of the key that values belong to
}

func (r *reader) read(line string) error {
	switch {
	case strings.HasPrefix(line, "["):
		path, rest, err := unescape(line[1:], ']')
		if err != nil {
			return err
		}
		if rest != "" && !strings.HasPrefix(rest, " ") {
			return fmt.Errorf("text behind a key")
		}
		lower := strings.ToLower(path)
		at, known := r.index[lower]
		if !known {
			at = len(r.keys)
			r.keys = append(r.keys, Key{Path: path})
			r.index[lower] = at
		}
		r.now = at
	case strings.HasPrefix(line, `"`) || strings.HasPrefix(line, "@"):
		if len(r.keys) == 0 {
			return fmt.Errorf("a value without a key")
		}
		v, err := value(line)
		if err != nil {
			return err
		}
		key := hive.Key{Values: r.keys[r.now].Values}
		r.keys[r.now].Values = key.Set(v).Values
	}
	return nil // the head, comments, times, classes
}

// value reads "name"=data or @=data.
func value(line string) (hive.Value, error) {
	var v hive.Value
	rest := line[1:]
	if line[0] == '"' {
		var err error
		if v.Name, rest, err = unescape(rest, '"'); err != nil {
			return v, err
		}
	}
	data, ok := strings.CutPrefix(rest, "=")
	if !ok {
		return v, fmt.Errorf("no = behind the name")
	}
	if strings.HasPrefix(data, `"`) {
		return text(v.Name, hive.String, data)
	}
	kind, data, ok := strings.Cut(data, ":")
	if !ok {
		return v, fmt.Errorf("no type of the data")
	}
	v.Type = hive.Binary
	if form, number, typed := strings.Cut(kind, "("); typed {
		n, err := strconv.ParseUint(strings.TrimSuffix(number, ")"), 16, 32)
		if err != nil {
			return v, err
		}
		kind, v.Type = form, uint32(n)
	}
	switch kind {
	case "dword":
		n, err := strconv.ParseUint(data, 16, 32)
		return hive.DWORD(v.Name, uint32(n)), err
	case "str":
		return text(v.Name, v.Type, data)
	case "hex":
		var err error
		v.Data, err = hex.DecodeString(strings.ReplaceAll(data, ",", ""))
		return v, err
	}
	return v, fmt.Errorf("type %q", kind)
}

// text reads a quoted string. What Wine wrote ends before the last NUL.
func text(name string, kind uint32, quoted string) (hive.Value, error) {
	s, rest, err := unescape(strings.TrimPrefix(quoted, `"`), '"')
	if err != nil {
		return hive.Value{}, err
	}
	if rest != "" {
		return hive.Value{}, fmt.Errorf("text behind a string")
	}
	v := hive.SZ(name, s)
	v.Type = kind
	return v, nil
}

// escapePath writes a path as Wine does.
func escapePath(path string) string { return escape(path, `[]\`) }

// escape puts a backslash before special characters, and writes those that are
// not printable ASCII by their number.
func escape(s, special string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		switch {
		case u >= 0x7f || u < 0x20:
			fmt.Fprintf(&b, `\x%04x`, u)
		case strings.ContainsRune(special, rune(u)):
			b.WriteByte('\\')
			b.WriteByte(byte(u))
		default:
			b.WriteByte(byte(u))
		}
	}
	return b.String()
}

// unescape reads up to the closing character, and gives what is behind it.
func unescape(s string, end byte) (text, rest string, err error) {
	var units []uint16
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == end:
			return string(utf16.Decode(units)), s[i+1:], nil
		case c != '\\':
			units = append(units, uint16(c))
			continue
		case i+1 == len(s):
			return "", "", fmt.Errorf("ends within an escape")
		}
		i++
		if n, digits := number(s[i:]); digits > 0 {
			units = append(units, n)
			i += digits - 1
			continue
		}
		units = append(units, uint16(unescaped(s[i])))
	}
	return "", "", fmt.Errorf("no closing %q", end)
}

// number reads what is behind a backslash as a character's number: x and up to
// four hexadecimal digits, or up to three octal ones.
func number(s string) (n uint16, length int) {
	if s[0] == 'x' {
		for length = 1; length < len(s) && length < 5 && isHex(s[length]); length++ {
		}
		v, _ := strconv.ParseUint(s[1:length], 16, 16)
		return uint16(v), length
	}
	for length < len(s) && length < 3 && '0' <= s[length] && s[length] <= '7' {
		length++
	}
	v, _ := strconv.ParseUint(s[:length], 8, 16)
	return uint16(v), length
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unescaped is the character that a letter stands for behind a backslash.
func unescaped(c byte) byte {
	const letters, meaning = "abefnrtv", "\a\b\x1b\f\n\r\t\v"
	if i := strings.IndexByte(letters, c); i >= 0 {
		return meaning[i]
	}
	return c
}
