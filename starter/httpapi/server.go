package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"imageport/starter"
	"imageport/starter/httpapi/auth"
)

// Config is what a Server is made of.
type Config struct {
	// Jobs is the client for all that there is to do.
	Jobs *starter.Client
	// Auth tells who sent a request.
	Auth auth.Authenticator
	// Open, in place of Auth, lets everybody do everything: good only for a server
	// that nobody but its user reaches. It answers only requests that were sent to
	// a name of this machine, so that no web page can send some.
	Open bool
	// Credentials is the wallet; nil leaves the endpoints for it out.
	Credentials Credentials
	// Version is that of the program.
	Version string
	Log     *slog.Logger

	// MaxStreams is how many requests may wait for a change of a job, in all; 0 is
	// 2000.
	MaxStreams int
	// Beat is how often a stream without news shows that it is alive, by default
	// every 15 s.
	Beat time.Duration
	// StreamFor is how long a stream may last, by default 15 minutes. The client
	// comes back where it was, with a token that is still good.
	StreamFor time.Duration
	// NewID gives ids of requests, by default UUIDs.
	NewID func() string
	// Around, if there is one, is put around each operation: for traces.
	Around func(http.Handler) http.Handler
}

const (
	// maxBodyBytes bounds bodies: Temporal takes no more than 2 MiB either.
	maxBodyBytes = 2 << 20
	// bodyTimeout is how long a body may take.
	bodyTimeout = 30 * time.Second
	// askTimeout is how long Temporal and a worker may take to answer.
	askTimeout = 20 * time.Second
)

// Server is the HTTP API. It is an http.Handler; Serve runs it.
type Server struct {
	Config
	api     huma.API
	mux     *http.ServeMux
	handler http.Handler

	document, documentYAML, document30 []byte

	// live ends with Close, and with it every stream.
	live    context.Context
	close   context.CancelFunc
	feeds   feeds
	gets    singleflight.Group // looks that run, by lookKey
	streams chan struct{}      // one for each stream that is open
	ready   readiness
}

// New makes a Server. Close ends it.
func New(c Config) (*Server, error) {
	switch {
	case c.Jobs == nil || c.Log == nil:
		return nil, errors.New("the HTTP API needs a client for jobs, and a log")
	case (c.Auth == nil) != c.Open:
		return nil, errors.New("the HTTP API needs either to know who sends requests, or to be open")
	}
	c.MaxStreams, c.Beat, c.StreamFor = cmp.Or(c.MaxStreams, 2000), cmp.Or(c.Beat, 15*time.Second), cmp.Or(c.StreamFor, 15*time.Minute)
	if c.NewID == nil {
		c.NewID = uuid.NewString
	}
	s := &Server{Config: c, mux: http.NewServeMux(), streams: make(chan struct{}, c.MaxStreams)}
	s.live, s.close = context.WithCancel(context.Background())
	s.feeds = feeds{live: s.live, jobs: c.Jobs, open: map[string]*feed{}}
	s.api = humago.New(s.mux, describe(c.Version))
	s.routes()
	if err := s.publish(); err != nil {
		s.close()
		return nil, err
	}
	s.handler = s.wrap(c.around(s.mux))
	return s, nil
}

func (c Config) around(h http.Handler) http.Handler {
	if c.Around == nil {
		return h
	}
	return c.Around(h)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends all streams. The jobs go on.
func (s *Server) Close() { s.close() }

// describe is the head of the OpenAPI document.
func describe(version string) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "imageport",
				Version: version,
				Description: "Converts Citrix Provisioning (PVS) vDisks. An operation starts a job; GET /jobs/{id} tells how it stands, " +
					"GET /jobs/{id}/events and the query parameter wait follow it.",
				License: &huma.License{Name: "See the file LICENSE"},
			},
			Servers: []*huma.Server{{URL: "/", Description: "this server"}, {URL: "/ips", Description: "the same, where the Citrix service has it"}},
			Components: &huma.Components{
				Schemas: aliases(huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					security: {Type: "http", Scheme: "bearer", Description: "An API key, or a token of the OpenID Connect issuer. " +
						"\"Authorization: CWSAuth bearer=<token>\" is taken as well."},
				},
			},
			Security: []map[string][]string{{security: {}}},
		},
		// The second is what package huma has for all of application/…+json.
		Formats:       map[string]huma.Format{"application/json": asJSON, "json": asJSON},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{ownProblems},
	}
}

// asJSON is the one format.
var asJSON = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	},
	Unmarshal: json.Unmarshal,
}

// security is the name of the one security scheme.
const security = "bearer"

// publish makes the documents, once: package huma would make them while it
// serves them.
func (s *Server) publish() error {
	doc := s.api.OpenAPI()
	tidy(doc)
	var err error
	if s.document, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("the OpenAPI document: %w", err)
	}
	if s.documentYAML, err = doc.YAML(); err != nil {
		return fmt.Errorf("the OpenAPI document: %w", err)
	}
	if s.document30, err = doc.Downgrade(); err != nil {
		return fmt.Errorf("the OpenAPI document: %w", err)
	}
	return nil
}

// OpenAPI gives the OpenAPI document, of version 3.1, in JSON.
func (s *Server) OpenAPI() []byte { return s.document }

// OpenAPI30 gives the document in version 3.0.3, for generators of clients that
// know no other.
func (s *Server) OpenAPI30() []byte { return s.document30 }
