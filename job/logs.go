package job

import (
	"strings"
	"time"
	"unicode/utf8"
)

// LogSource is who wrote a log.
type LogSource string

// The sources of logs.
const (
	LogCE       LogSource = "ce"       // a Compositing Engine
	LogGuest    LogSource = "guest"    // a Windows that was started, or its firmware
	LogPlatform LogSource = "platform" // what the platform and the worker ran into
)

// LogSources are all of them.
var LogSources = []LogSource{LogCE, LogGuest, LogPlatform}

// Bounds of the logs of a job, in bytes of text. What is newest is kept.
const (
	MaxLogBytes  = 64 << 10
	MaxLogsBytes = 256 << 10
)

// logOverhead is what a log counts for beside its text, so that many short ones
// are bounded, too.
const logOverhead = 128

// maxLogName bounds a log's name, in bytes.
const maxLogName = 200

// Log is the end of one log: whole lines, without secrets.
type Log struct {
	Source LogSource `json:"source"`
	// Name says which of its source: a CE, a file in the guest, "attempts".
	Name string `json:"name"`
	// At is when it was handed over, zero for what is read as it is now.
	At time.Time `json:"at,omitzero"`
	// OmittedBytes came before Text, and were not kept.
	OmittedBytes int64  `json:"omittedBytes,omitempty"`
	Text         string `json:"text"`
}

// Logs are what is kept of a job's logs, as the query "logs" and all doors show
// them. A source comes in the order of time.
type Logs struct {
	JobID string `json:"jobId"`
	RunID string `json:"runId"`
	Logs  []Log  `json:"logs"`
	// Warnings say what could not be had.
	Warnings []string `json:"warnings,omitempty"`
}

// Add adds a log, redacted and within the bounds: of a long one the beginning
// goes, and of all of them the oldest. One without text is nothing.
func (l *Logs) Add(log Log) {
	log.Name = shorten(strings.ToValidUTF8(log.Name, "\uFFFD"), maxLogName)
	log.Text = Redact(strings.ToValidUTF8(log.Text, "\uFFFD"))
	log.trim(MaxLogBytes)
	if log.Text == "" {
		return
	}
	l.Logs = append(l.Logs, log)
	excess := -MaxLogsBytes
	for _, log := range l.Logs {
		excess += log.size()
	}
	for excess > 0 {
		oldest := &l.Logs[0]
		before := oldest.size()
		oldest.trim(max(len(oldest.Text)-excess, 0))
		if oldest.Text != "" {
			return
		}
		excess -= before
		l.Logs = l.Logs[1:]
	}
}

// Of gives the logs of a source, or all of them for "".
func (l Logs) Of(source LogSource) Logs {
	if source == "" {
		return l
	}
	of := l
	of.Logs = nil
	for _, log := range l.Logs {
		if log.Source == source {
			of.Logs = append(of.Logs, log)
		}
	}
	return of
}

func (l *Log) size() int { return len(l.Text) + len(l.Name) + logOverhead }

// trim leaves at most limit bytes of the text, from the beginning of a line
// where there is one.
func (l *Log) trim(limit int) {
	if len(l.Text) <= limit {
		return
	}
	from := len(l.Text) - limit
	if l.Text[from-1] != '\n' {
		if n := strings.IndexByte(l.Text[from:], '\n'); n >= 0 && n < limit-1 {
			from += n + 1
		}
	}
	for from < len(l.Text) && !utf8.RuneStart(l.Text[from]) {
		from++
	}
	l.OmittedBytes += int64(from)
	l.Text = l.Text[from:]
}

// shorten gives at most limit bytes of a text, and whole characters.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = "…"
	cut := limit - len(more)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}
