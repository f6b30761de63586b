package ovmf

import (
	"strings"
	"time"
)

// Report is what was seen of one boot.
type Report struct {
	Passed   bool   // the verdict is PASS, and the loader itself was heard
	Verdict  string // "PASS", "FAIL <check>", or empty: none
	Checks   []Check
	Serial   string        // everything that came from the serial port
	Duration time.Duration // from the start of the machine to its end
}

// Check is one line of the oracle: one step of the boot.
type Check struct {
	Name   string // "bcd-hive", "os-partition" ...
	OK     bool
	Detail string // what was found or, if not OK, what is wrong
}

// The last lines of the oracle: that of the stand-in for winload.efi, and under a
// BIOS that of the boot sector.
const (
	loaderCheck = "winload"
	sectorCheck = "boot-sector"
)

// Failed gives the check that failed, if one did.
func (r Report) Failed() (Check, bool) {
	for _, c := range r.Checks {
		if !c.OK {
			return c, true
		}
	}
	return Check{}, false
}

// String is the checks, one a line, as the oracle printed them.
func (r Report) String() string {
	var b strings.Builder
	for _, c := range r.Checks {
		word := "FAIL"
		if c.OK {
			word = "ok  "
		}
		b.WriteString(word + " " + c.Name + " " + c.Detail + "\n")
	}
	return b.String() + "verdict: " + r.Verdict + "\n"
}

// add takes one line from the serial port.
func (r *Report) add(line string) {
	r.Serial += line
	// The firmware's escape sequences may stand before the oracle's words.
	_, words, found := strings.Cut(strings.TrimRight(line, "\r\n"), "ORACLE ")
	if !found {
		return
	}
	kind, rest, _ := strings.Cut(words, " ")
	switch kind {
	case "ok", "FAIL":
		name, detail, _ := strings.Cut(rest, " ")
		r.Checks = append(r.Checks, Check{Name: name, OK: kind == "ok", Detail: detail})
	case "VERDICT":
		r.Verdict = rest
		last := len(r.Checks) - 1
		r.Passed = rest == "PASS" && last >= 0 && (r.Checks[last].Name == loaderCheck || r.Checks[last].Name == sectorCheck) && r.Checks[last].OK
	}
}

// lastLine is the end of the serial log, for an error message.
func (r *Report) lastLine() string {
	log := strings.TrimRight(r.Serial, "\r\n \x00")
	return log[strings.LastIndexByte(log, '\n')+1:]
}
