package kmsg

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// prefix begins each of our lines, the kernel's have others.
	prefix = "imageport-ce: "
	// maxText bounds the text of a record: the kernel refuses more than 1024
	// bytes with all that belongs to one (PRINTKRB_RECORD_MAX).
	maxText = 880
	// maxRecords bounds what one message may fill; the log is a ring.
	maxRecords = 8
)

// Levels of the kernel's log (KERN_ERR and so on, as in syslog). Info is a
// notice: a console that shows notices is spared the kernel's own chatter.
const (
	levelError  = 3
	levelWarn   = 4
	levelNotice = 5
	levelDebug  = 7
)

// Writer writes records. It is safe for concurrent use.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	hidden []string
}

// NewWriter makes a Writer to w, which is /dev/kmsg or like it: one call of
// Write is one record.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Hide keeps a secret out of all records from now on.
func (w *Writer) Hide(secret string) {
	if secret == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.hidden, secret) {
		w.hidden = append(w.hidden, secret)
	}
}

// Clean makes a text fit for one line: no control characters, no secrets.
func (w *Writer) Clean(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clean(text)
}

func (w *Writer) clean(text string) string {
	for _, secret := range w.hidden {
		text = strings.ReplaceAll(text, secret, "[hidden]")
	}
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// Line writes a line of that level without our prefix.
func (w *Writer) Line(level slog.Level, text string) error { return w.write(level, "", text) }

func (w *Writer) write(level slog.Level, prefix, text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, part := range split(w.clean(text)) {
		if i > 0 {
			part = "... " + part
		}
		// One call of Write, or it would be more than one record. Without the end
		// of the line, the kernel waits for more before it shows it.
		if _, err := fmt.Fprintf(w.w, "<%d>%s%s\n", kernelLevel(level), prefix, part); err != nil {
			return fmt.Errorf("kernel log: %w", err)
		}
	}
	return nil
}

// split cuts a text into what goes into one record each.
func split(text string) []string {
	var parts []string
	for len(text) > maxText {
		if len(parts) == maxRecords-1 {
			return append(parts, "(more is left out)")
		}
		cut := maxText
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		parts, text = append(parts, text[:cut]), text[cut:]
	}
	return append(parts, text)
}

func kernelLevel(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return levelError
	case l >= slog.LevelWarn:
		return levelWarn
	case l >= slog.LevelInfo:
		return levelNotice
	}
	return levelDebug
}

// Handler gives slog's records to a Writer as "message key=value". The time is
// the kernel's.
type Handler struct {
	w     *Writer
	level slog.Level
	attrs string // of With, as text
	group string // of WithGroup, with a dot at the end
}

// NewHandler makes a Handler of records of at least that level.
func NewHandler(w *Writer, level slog.Level) *Handler { return &Handler{w: w, level: level} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.group, a)
		return true
	})
	return h.w.write(r.Level, prefix, b.String())
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		appendAttr(&b, h.group, a)
	}
	with := *h
	with.attrs = b.String()
	return &with
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "."
	return &with
}

func appendAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, of := range v.Group() {
			appendAttr(b, group, of)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	text := v.String()
	if text == "" || strings.ContainsAny(text, " =\"\n") {
		text = fmt.Sprintf("%q", text)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, text)
}
