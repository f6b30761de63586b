package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeaderBytes bounds the head of a request. A token has some 2 KiB.
	maxHeaderBytes = 32 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	// stopTimeout is how long requests may take to end when the server stops.
	stopTimeout = 15 * time.Second
)

// Serve serves what comes in on ln until ctx ends, with TLS if there is a
// configuration for it. Then it closes the streams and lets other requests end.
// It ends the Server.
func (s *Server) Serve(ctx context.Context, ln net.Listener, secure *tls.Config) error {
	defer s.Close()
	h := &http.Server{
		Handler:           s,
		TLSConfig:         secure,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout + bodyTimeout,
		IdleTimeout:       idleTimeout, // each request sets what it may take to write
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(s.Close)
	ended := make(chan error, 1)
	go func() {
		if secure != nil {
			ended <- h.ServeTLS(ln, "", "")
		} else {
			ended <- h.Serve(ln)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := h.Shutdown(stopping); err != nil {
		_ = h.Close() // what is still open has had its time
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}
