package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// The formats of logs.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// NewLogger gives a logger to w. An empty format is FormatText, an empty level
// "info"; levels are slog's: debug, info, warn and error.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var min slog.Level
	if level != "" {
		if err := min.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("log level %.40q: use debug, info, warn or error", level)
		}
	}
	o := &slog.HandlerOptions{Level: min}
	switch strings.ToLower(format) {
	case "", FormatText:
		return slog.New(slog.NewTextHandler(w, o)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %.40q: use %s or %s", format, FormatText, FormatJSON)
}

// The gateway's events that are counted, by the messages that it logs them with.
var gatewayEvents = map[string]string{
	"gateway: denied":            "call",
	"gateway: enrolment refused": "enrolment",
}

// unlogged is the attribute with which the gateway tells how many events of a
// kind it has kept quiet about since the last one.
const unlogged = "unlogged"

// counting counts what passes on to the next handler.
type counting struct {
	slog.Handler
	m *measures
	// more is the value of unlogged where the logger has it already.
	more uint64
}

// Log counts what is logged, and what the gateway denies.
func (t *Telemetry) Log(l *slog.Logger) *slog.Logger {
	if t == nil || t.measures == nil {
		return l
	}
	return slog.New(&counting{Handler: l.Handler(), m: t.measures})
}

// Handle implements slog.Handler.
func (c *counting) Handle(ctx context.Context, r slog.Record) error {
	c.m.logged.WithLabelValues(strings.ToLower(r.Level.String())).Inc()
	if kind, ours := gatewayEvents[r.Message]; ours {
		c.m.denials.WithLabelValues(kind).Add(1 + float64(c.more))
	}
	return c.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (c *counting) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := c.more
	for _, a := range attrs {
		if a.Key == unlogged && a.Value.Kind() == slog.KindInt64 {
			more = uint64(max(0, a.Value.Int64()))
		}
	}
	return &counting{c.Handler.WithAttrs(attrs), c.m, more}
}

// WithGroup implements slog.Handler.
func (c *counting) WithGroup(name string) slog.Handler {
	return &counting{c.Handler.WithGroup(name), c.m, c.more}
}
