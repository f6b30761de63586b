package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"imageport/job"
	"imageport/job/durable"
	"imageport/starter"
)

// dialTimeout is how long the Temporal server may take to answer at first.
const dialTimeout = 10 * time.Second

// connect connects to Temporal. The options returned have the address and
// namespace in use.
func (a *app) connect(ctx context.Context, logger *slog.Logger, with ...func(*client.Options) error) (client.Client, client.Options, error) {
	o, err := a.temporal(logger, with...)
	if err != nil {
		return nil, o, err
	}
	c, err := dial(ctx, o)
	return c, o, err
}

// temporal says how to reach Temporal, for the worker and the command line alike:
// environment and profile file, with the flags on top, and what with adds.
func (a *app) temporal(logger *slog.Logger, with ...func(*client.Options) error) (client.Options, error) {
	o, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{ConfigFileProfile: a.profile})
	if err != nil {
		return o, job.Errorf(job.BadRequest, "Correct Temporal's environment variables or profile file", "how to reach Temporal: %w", err)
	}
	o.HostPort = cmp.Or(a.address, o.HostPort, client.DefaultHostPort)
	if !strings.Contains(o.HostPort, ":") {
		return o, job.Errorf(job.BadRequest, "Write it as host:port, such as "+client.DefaultHostPort, "the address %q of the Temporal server has no port", o.HostPort)
	}
	o.Namespace = cmp.Or(a.namespace, o.Namespace, client.DefaultNamespace)
	o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, durable.PatientHeartbeats())
	o.Logger = log.NewStructuredLogger(logger)
	for _, add := range with {
		if err := add(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

func dial(ctx context.Context, o client.Options) (client.Client, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := client.DialContext(dialCtx, o)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, job.Errorf(job.TemporalUnreachable, "Check --address, TEMPORAL_ADDRESS or the profile, and that the server runs",
			"the Temporal server at %s does not serve us: %w", o.HostPort, err)
	}
	return c, nil
}

// jobs calls f with a client for jobs.
func (a *app) jobs(ctx context.Context, f func(*starter.Client) error) error {
	// Failures reach the user as errors; the log would only say them twice.
	c, _, err := a.connect(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return err
	}
	defer c.Close()
	return f(starter.New(c))
}
