package deb

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
)

// maxControlLine bounds a line of a control file, in bytes: some packages
// provide thousands of names.
const maxControlLine = 1 << 20

// Stanzas reads the paragraphs of a control file, deb822(5): fields by their
// names in lower case, the lines of a folded field parted by newlines. Comments
// do not count. The last pair may be an error.
func Stanzas(r io.Reader) iter.Seq2[map[string]string, error] {
	return func(yield func(map[string]string, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxControlLine)
		number, last := 0, ""
		fields := map[string]string{}
		for lines.Scan() {
			number++
			line := strings.TrimRight(lines.Text(), " \t\r")
			switch {
			case line == "":
				if len(fields) > 0 && !yield(fields, nil) {
					return
				}
				fields, last = map[string]string{}, ""
			case line[0] == '#':
			case line[0] == ' ' || line[0] == '\t':
				if last == "" {
					yield(nil, fmt.Errorf("line %d continues no field", number))
					return
				}
				fields[last] += "\n" + strings.TrimSpace(line)
			default:
				name, value, ok := strings.Cut(line, ":")
				if !ok || name == "" {
					yield(nil, fmt.Errorf("line %d is no field: %.80q", number, line))
					return
				}
				last = strings.ToLower(name)
				if _, twice := fields[last]; twice {
					yield(nil, fmt.Errorf("line %d: a second field %.80q", number, name))
					return
				}
				fields[last] = strings.TrimSpace(value)
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, fmt.Errorf("line %d: %w", number+1, err))
			return
		}
		if len(fields) > 0 {
			yield(fields, nil)
		}
	}
}
