package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// wellWithin is how long Temporal may let polls of a worker wait without an
// answer: a poll without a task is answered after a minute.
const wellWithin = 3 * time.Minute

// Serve serves /metrics and /healthz until ctx ends, which is no error. Without
// metrics it only waits for that. They tell no secrets, but whoever reaches them
// learns what runs: they belong on loopback or a network of one's own.
func (t *Telemetry) Serve(ctx context.Context) error {
	if t == nil || t.registry == nil {
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", t.o.Metrics)
	if err != nil {
		return fmt.Errorf("metrics: %w (the address is that under [metrics] in the configuration)", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}))
	mux.HandleFunc("GET /healthz", t.health)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	t.log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// health answers 200 while Temporal answers the polls of this process, and 503
// when it has not for a while. A process that polls nothing is well.
func (t *Telemetry) health(w http.ResponseWriter, _ *http.Request) {
	if silent := t.tasks.silent(); silent > wellWithin {
		http.Error(w, fmt.Sprintf("Temporal has not answered a poll for %v", silent.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok") // it may have gone
}
