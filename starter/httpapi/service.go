package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"imageport/job"
)

// readyFor is how long it is taken for granted that Temporal answers: what asks
// for it needs no token.
const readyFor = time.Second

// readiness remembers whether Temporal answered.
type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

func (s *Server) isReady() error {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if s.ready.at.IsZero() || time.Since(s.ready.at) > readyFor {
		ctx, cancel := context.WithTimeout(s.live, 2*time.Second)
		defer cancel()
		s.ready.err = s.Jobs.Ping(ctx)
		s.ready.at = time.Now()
	}
	return s.ready.err
}

// Health is how the service is.
type Health struct {
	Status string `json:"status" enum:"ok,unavailable"`
}

type healthOutput struct{ Body Health }

// Service is what the service is.
type Service struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Operations []string `json:"operations" nullable:"false"`
	Temporal   string   `json:"temporal" enum:"ok,unavailable"`
	// ResourceLocations are those that the principal sees.
	ResourceLocations []string `json:"resourceLocations" nullable:"false" doc:"Those that you may see; * is all."`
}

type serviceOutput struct{ Body Service }

func (s *Server) serviceRoutes() {
	tags := []string{"service"}
	everybody := []map[string][]string{}
	handle(s, huma.Operation{OperationID: "health", Method: http.MethodGet, Path: "/healthz", Tags: tags, Security: everybody,
		Summary: "Tell that the server runs"}, func(context.Context, *struct{}) (*healthOutput, error) {
		return &healthOutput{Health{"ok"}}, nil
	})
	handle(s, huma.Operation{OperationID: "ready", Method: http.MethodGet, Path: "/readyz", Tags: tags, Security: everybody,
		Summary: "Tell whether the server can do its work: Temporal answers"}, func(context.Context, *struct{}) (*healthOutput, error) {
		if err := s.isReady(); err != nil {
			return nil, problem(http.StatusServiceUnavailable, job.TemporalUnreachable, "Check that the Temporal server runs", "the Temporal server does not answer")
		}
		return &healthOutput{Health{"ok"}}, nil
	})
	handle(s, huma.Operation{OperationID: "status", Method: http.MethodGet, Path: "/status", Tags: tags,
		Summary: "Tell what the service is"}, func(ctx context.Context, _ *struct{}) (*serviceOutput, error) {
		found := Service{Name: "imageport", Version: s.Version, Temporal: "ok", ResourceLocations: requestOf(ctx).who.Visible(),
			Operations: []string{string(job.OpReverseImage), string(job.OpConvertToUEFI), string(job.OpUpgradePVS)}}
		if found.ResourceLocations == nil {
			found.ResourceLocations = []string{"*"}
		}
		if s.isReady() != nil {
			found.Temporal = "unavailable"
		}
		return &serviceOutput{found}, nil
	})
	for path, document := range map[string]struct {
		contentType string
		text        *[]byte
	}{
		documentPath + ".json":     {"application/openapi+json", &s.document},
		documentPath + ".yaml":     {"application/openapi+yaml", &s.documentYAML},
		documentPath + "-3.0.json": {"application/openapi+json", &s.document30},
	} {
		s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", document.contentType)
			_, _ = w.Write(*document.text) // the client sees that it is cut off
		})
	}
}
