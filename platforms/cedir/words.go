package cedir

import (
	"io"
	"os"
	"strings"
	"unicode"

	"imageport/job/seed"
)

// maxWords is the length in bytes of what fits into a message.
const maxWords = 300

// Tail gives the lines of the last limit bytes of a log of any size. They are cleaned: valid UTF-8, and nothing that does things to
// a terminal. A log that cannot be read has no lines.
func Tail(path string, limit int64) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return nil
	}
	b := make([]byte, min(limit, size))
	n, err := f.ReadAt(b, size-int64(len(b)))
	if err != nil && err != io.EOF { // it may have been cut in between
		return nil
	}
	return lines(b[:n])
}

// lines gives the clean lines of a log that are not empty.
func lines(log []byte) []string {
	var clean []string
	for line := range strings.FieldsFuncSeq(strings.ToValidUTF8(string(log), ""), func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(printable(line)); line != "" {
			clean = append(clean, line)
		}
	}
	return clean
}

// printable drops what is not: also the rest of a terminal's control sequence
// (ECMA-48 5.4: from CSI, ESC and a bracket, to a byte from 40 hexadecimal on).
func printable(s string) string {
	var out strings.Builder
	sequence := 0 // 1: after ESC; 2: in a control sequence
	for _, r := range s {
		switch {
		case r == '\x1b':
			sequence = 1
		case sequence == 1 && r == '[':
			sequence = 2
		case sequence == 2 && r >= 0x40 && r <= 0x7e:
			sequence = 0
		case sequence == 2 && r >= 0x20 && r < 0x40:
		case unicode.IsPrint(r):
			sequence = 0
			out.WriteRune(r)
		}
	}
	return out.String()
}

// Cut makes of a line what fits into a message.
func Cut(line string) string {
	if len(line) <= maxWords {
		return line
	}
	return strings.ToValidUTF8(line[:maxWords], "") + "…"
}

// LastLine gives the last line of a log, or "".
func LastLine(path string) string {
	lines := Tail(path, maxWords)
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// GaveUp gives the cause that a CE named on this line of its console when it
// gave up. A kernel's log has the time in front of it.
func GaveUp(line string) (cause string, ok bool) {
	before, cause, ok := strings.Cut(line, strings.TrimSpace(seed.Failed))
	before = strings.TrimSpace(before)
	if !ok || before != "" && !strings.HasSuffix(before, "]") {
		return "", false
	}
	return Cut(strings.TrimSpace(cause)), true
}
