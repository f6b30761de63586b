package job

import "strings"

// maxLogLine bounds a line of a Tail, in bytes.
const maxLogLine = 8 << 10

// Tail gathers a log of which the newest MaxLogBytes are kept, in whole lines.
// The zero value is empty. It is not for concurrent use.
type Tail struct {
	lines   []string
	bytes   int
	omitted int64
}

// Add adds a line, without the line feed at its end. One that is very long is
// cut.
func (t *Tail) Add(line string) {
	line = shorten(line, maxLogLine)
	t.lines = append(t.lines, line)
	t.bytes += len(line) + 1
	for t.bytes > MaxLogBytes {
		n := len(t.lines[0]) + 1
		t.lines[0] = "" // nothing holds it
		t.lines = t.lines[1:]
		t.bytes -= n
		t.omitted += int64(n)
	}
}

// Log gives what there is as a log of that source and name.
func (t *Tail) Log(source LogSource, name string) Log {
	log := Log{Source: source, Name: name, OmittedBytes: t.omitted}
	if len(t.lines) > 0 {
		log.Text = strings.Join(t.lines, "\n") + "\n"
	}
	return log
}
