package main

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/job"
	"imageport/observe"
)

// logging are the flags of a process that logs.
type logging struct{ format, level string }

// logFlags adds them to a command. The configuration has them, too.
func logFlags(cmd *cobra.Command) *logging {
	l := new(logging)
	choose(cmd, &l.format, "log-format", "`text or json` (default: the configuration's, or text)", observe.FormatText, observe.FormatJSON)
	choose(cmd, &l.level, "log-level", "least `level` to log: debug, info, warn or error (default: the configuration's, or info)", "debug", "info", "warn", "error")
	return l
}

// telemetry opens what a process with the name service tells of itself: its log,
// and metrics at that address and traces where the configuration asks for them.
// The caller closes it.
func (a *app) telemetry(ctx context.Context, l *logging, cfg config.Config, service, metrics string) (*observe.Telemetry, *slog.Logger, error) {
	logger, err := observe.NewLogger(a.err, cmp.Or(l.format, cfg.Log.Format), cmp.Or(l.level, cfg.Log.Level))
	if err != nil {
		return nil, nil, job.Errorf(job.BadRequest, "Correct the flag, or [log] in the configuration", "%w", err)
	}
	sample := 1.0
	if cfg.Traces.Sample != nil {
		sample = *cfg.Traces.Sample
	}
	t, err := observe.Open(ctx, observe.Options{
		Service: service, Version: buildVersion().Version,
		Metrics: metrics, Traces: cfg.Traces.Endpoint, Sample: sample,
		Log: logger,
	})
	if err != nil {
		return nil, nil, job.Errorf(job.BadRequest, "Correct [metrics] or [traces] in the configuration", "%w", err)
	}
	return t, t.Log(logger), nil
}

// telemetryTimeout is how long a process that ends may take to send its last
// traces.
const telemetryTimeout = 3 * time.Second

// closeTelemetry sends what is left.
func closeTelemetry(ctx context.Context, t *observe.Telemetry, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), telemetryTimeout)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		logger.Warn("the last traces may be lost", "error", err)
	}
}
