package bootproof

import (
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	consoleKept = 4 << 10 // bytes of the console's end for the proof
	maxLine     = 1 << 10 // bytes; longer ones are broken
	maxReports  = 64      // firmware's reports that are kept
)

// report is what firmware's boot device selection says of a boot entry:
//
//	BdsDxe: starting Boot0001 "UEFI QEMU HARDDISK QM00001 " from PciRoot(0x0)/...
type report struct {
	verb string // "loading", "starting", "failed to load" or "failed to start"
	path string // device path
	text string // the report as a whole
	at   time.Duration
}

// own says that the entry is firmware's own, such as its shell or its menu.
func (r report) own() bool { return strings.HasPrefix(r.path, "Fv(") }

var (
	reportLine = regexp.MustCompile(`BdsDxe: (loading|starting|failed to load|failed to start) Boot[0-9A-Fa-f]{4} "[^"]*" from (\S+).*`)
	// Firmware without a shell of its own ends so.
	nothingLine = regexp.MustCompile(`BdsDxe: No bootable option or device was found.*`)
)

// console takes what comes from the serial port.
type console struct {
	since  func() time.Duration // since the start of the machine
	marker *regexp.Regexp       // or nil
	reads  *reads
	news   chan struct{} // holds a token when there was a report or the marker

	mu      sync.Mutex
	control control
	line    []byte // the unfinished one, without control sequences
	tail    []byte // the end of the text, ditto
	facts   heard
}

// heard is what the console tells.
type heard struct {
	bytes   int64         // all that came
	first   time.Duration // when it came
	reports []report
	nothing string // firmware's words that there is nothing to boot
	said    string // first line after the boot manager's start
	marked  string // line that matched the marker
}

func newConsole(since func() time.Duration, marker *regexp.Regexp, reads *reads) *console {
	return &console{since: since, marker: marker, reads: reads, news: make(chan struct{}, 1)}
}

// Write takes a piece of what comes. It never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.facts.bytes == 0 && len(p) > 0 {
		c.facts.first = c.since()
	}
	c.facts.bytes += int64(len(p))
	for _, b := range p {
		if !c.control.text(b) {
			continue
		}
		c.tail = append(c.tail, b)
		if b != '\n' {
			c.line = append(c.line, b)
		}
		if b == '\n' || len(c.line) >= maxLine {
			c.read(string(c.line))
			c.line = c.line[:0]
		}
	}
	if len(c.tail) > 2*consoleKept {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-consoleKept:]...)
	}
	return len(p), nil
}

// read takes a line.
func (c *console) read(line string) {
	if m := reportLine.FindStringSubmatch(line); m != nil {
		c.report(report{verb: m[1], path: strings.TrimSuffix(m[2], ":"), text: strings.TrimSpace(m[0]), at: c.since()})
	} else if words := nothingLine.FindString(line); words != "" {
		c.facts.nothing = words
		c.tell()
	} else if words := strings.TrimSpace(line); words != "" && c.facts.said == "" && c.facts.started() {
		c.facts.said = words
	}
	c.match(line)
}

func (c *console) report(r report) {
	if len(c.facts.reports) < maxReports {
		c.facts.reports = append(c.facts.reports, r)
	}
	if !r.own() {
		switch r.verb {
		case "loading":
			c.reads.turn()
		case "starting":
			c.reads.start()
		}
	}
	c.tell()
}

func (c *console) match(line string) {
	if c.marker != nil && c.facts.marked == "" && c.marker.MatchString(line) {
		c.facts.marked = strings.TrimSpace(line)
		c.tell()
	}
}

func (c *console) tell() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// heard gives what was heard until now. The boot manager may wait at the end
// of a line that is not ended.
func (c *console) heard() heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.match(string(c.line))
	facts := c.facts
	facts.reports = append([]report(nil), c.facts.reports...)
	return facts
}

// end is the end of the text, of at most n bytes.
func (c *console) end(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.ToValidUTF8(string(c.tail), "")
	if len(text) > n {
		text = strings.ToValidUTF8(text[len(text)-n:], "")
	}
	return strings.TrimSpace(text)
}

// find gives firmware's first report of that kind on the disk's entry.
func (h heard) find(verb string) (report, bool) {
	for _, r := range h.reports {
		if r.verb == verb && !r.own() {
			return r, true
		}
	}
	return report{}, false
}

func (h heard) started() bool {
	_, ok := h.find("starting")
	return ok
}

// control takes the control sequences of a terminal (ECMA-48) out of a stream.
type control int

const (
	plain      control = iota
	escaped            // after ESC
	sequence           // in a control sequence, until its final byte
	commanding         // in a string such as a title, until BEL or ST
	commandEsc         // after an ESC in there
)

// text reports whether b is text, and moves on.
func (c *control) text(b byte) bool {
	const esc, bel, can, sub, del = 0x1b, 0x07, 0x18, 0x1a, 0x7f
	switch {
	case b == can || b == sub: // which end any sequence
		*c = plain
		return false
	case *c == commanding && b == esc:
		*c = commandEsc
		return false
	case *c == commanding && b != bel:
		return false
	case b == esc:
		*c = escaped
		return false
	}
	switch *c {
	case escaped, commandEsc:
		switch {
		case b == '[':
			*c = sequence
		case *c == escaped && strings.IndexByte("]PX^_", b) >= 0:
			*c = commanding
		case b < 0x20 || b > 0x2f: // not an intermediate byte
			*c = plain
		}
		return false
	case sequence:
		if b >= 0x40 && b <= 0x7e {
			*c = plain
		}
		return false
	case commanding: // BEL
		*c = plain
		return false
	}
	return b == '\n' || b == '\t' || b >= 0x20 && b != del
}
