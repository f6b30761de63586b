package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"imageport/job"
	"imageport/starter/httpapi/auth"
)

// request is what is known of a request besides what the client sent.
type request struct {
	id   string
	base string // "" or "/ips"
	who  auth.Principal
}

type requestKey struct{}

// requestOf gives the request of a context.
func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{} // who may do nothing
}

// maxCustomerID bounds what is logged of a header that is of no other use.
const maxCustomerID = 64

// recorder keeps what the access log tells of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// wrap puts around the operations what is the same for all of them.
func (s *Server) wrap(operations http.Handler) http.Handler {
	sameSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		known := &request{id: s.NewID()}
		rec := &recorder{ResponseWriter: w}
		header := w.Header()
		header.Set("X-Request-Id", known.id)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if failed := recover(); failed != nil {
				s.panicked(rec, known, failed)
			}
			s.logged(r, rec, known, time.Since(begin))
		}()
		_ = http.NewResponseController(w).SetWriteDeadline(begin.Add(maxWait + writeTimeout)) // a test's writer has none
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, known))
		r.Body = http.MaxBytesReader(rec, r.Body, maxBodyBytes+1) // package huma refuses the last byte with words
		if p := s.admit(sameSite, r, known); p != nil {
			p.RequestID = known.id
			p.write(rec)
			return
		}
		r = rebased(r, known)
		if p := s.route(r); p != nil {
			p.RequestID = known.id
			p.write(rec)
			return
		}
		operations.ServeHTTP(rec, r)
	})
}

// admit finds out who sent a request, and refuses what cannot be one for us.
func (s *Server) admit(sameSite *http.CrossOriginProtection, r *http.Request, known *request) *Problem {
	if err := sameSite.Check(r); err != nil {
		return problem(http.StatusForbidden, job.Forbidden, "", "requests of other web sites are refused")
	}
	if s.Open {
		if !local(r.Host) {
			return problem(http.StatusForbidden, job.Forbidden, "Use localhost or 127.0.0.1 in the address",
				"a server without authentication is for its own machine, and the request was sent to "+fmt.Sprintf("%.100q", r.Host))
		}
		known.who = auth.Anybody()
	} else if !public(r.URL.Path) {
		var err error
		if known.who, err = s.authenticate(r); err != nil {
			return problemOf(err, func(err error) { s.Log.Warn("authentication", "error", err, "request", known.id) })
		}
	}
	if !readable(r) {
		return problem(http.StatusBadRequest, job.BadRequest, "Correct the path, the query or the header Idempotency-Key", "it has characters that cannot be printed, or escapes that are none")
	}
	if r.ContentLength != 0 && r.Method != http.MethodGet && r.Method != http.MethodHead {
		// What a form of a web page could send is refused.
		if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" && !strings.HasSuffix(t, "+json") {
			return problem(http.StatusUnsupportedMediaType, job.BadRequest, "Send Content-Type: application/json", "the body is not declared to be JSON")
		}
	}
	return nil
}

// readable reports whether what is handed on as text is text: Temporal takes no
// other, and would fail on it.
func readable(r *http.Request) bool {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return false
	}
	texts := append(slices.Collect(maps.Keys(query)), r.URL.Path, r.Header.Get("Idempotency-Key"))
	for _, values := range query {
		texts = append(texts, values...)
	}
	return !slices.ContainsFunc(texts, func(text string) bool {
		return !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl)
	})
}

func (s *Server) authenticate(r *http.Request) (auth.Principal, error) {
	token, ok := bearer(r.Header.Values("Authorization"))
	if !ok {
		return auth.Principal{}, job.Errorf(job.Unauthenticated, "Send Authorization: Bearer <token>, with an API key or a token of the issuer", "the request has no token")
	}
	return s.Auth.Authenticate(r.Context(), token)
}

// bearer gives the token: "Bearer <token>" (RFC 6750), or "CWSAuth
// bearer=<token>" as Citrix's PowerShell module sends it.
func bearer(headers []string) (string, bool) {
	if len(headers) != 1 { // two may be read differently by what is before us
		return "", false
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	rest = strings.TrimSpace(rest)
	if strings.EqualFold(scheme, "CWSAuth") {
		var name string
		name, rest, _ = strings.Cut(rest, "=")
		if scheme = strings.TrimSpace(name); !strings.EqualFold(scheme, "bearer") {
			return "", false
		}
	}
	return rest, strings.EqualFold(scheme, "bearer") && rest != ""
}

// local reports whether the Host of a request is a name of this machine.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return job.Localhost(strings.Trim(host, "[]"))
}

// citrixBase is where the Citrix service has its endpoints.
const citrixBase = "/ips"

// public reports whether everybody may have the path.
func public(p string) bool { return slices.Contains(publicPaths, strings.TrimPrefix(p, citrixBase)) }

// rebased takes the base off the path.
func rebased(r *http.Request, known *request) *http.Request {
	if !strings.HasPrefix(r.URL.Path, citrixBase+"/") {
		return r
	}
	known.base = citrixBase
	u := *r.URL
	u.Path, u.RawPath = strings.TrimPrefix(u.Path, citrixBase), strings.TrimPrefix(u.RawPath, citrixBase)
	again := *r
	again.URL = &u
	return &again
}

// route says what is wrong with a path that is none of ours.
func (s *Server) route(r *http.Request) *Problem {
	// "/jobs/" is what the Citrix documentation has for the list.
	if clean := strings.TrimSuffix(r.URL.Path, "/"); clean != "" && clean != r.URL.Path && r.URL.RawPath == "" && path.Clean(clean) == clean {
		r.URL.Path = clean
	}
	if _, pattern := s.mux.Handler(r); pattern != "" {
		return nil
	}
	var allowed []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodPost, http.MethodPut} {
		other := *r
		other.Method = method
		if _, pattern := s.mux.Handler(&other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed != nil {
		p := problem(http.StatusMethodNotAllowed, job.NoSuchRoute, "Use "+strings.Join(allowed, " or "), "the path is not for the method "+fmt.Sprintf("%.20q", r.Method))
		p.headers = http.Header{"Allow": {strings.Join(allowed, ", ")}}
		return p
	}
	return problem(http.StatusNotFound, job.NoSuchRoute, "GET /openapi.json lists what there is; the slashes in the id of a job are written %2F", "there is no such path")
}

// panicked answers a request that was given up.
func (s *Server) panicked(rec *recorder, known *request, failed any) {
	s.Log.Error("panic", "request", known.id, "panic", fmt.Sprint(failed), "stack", string(debug.Stack()))
	if rec.status != 0 {
		_ = http.NewResponseController(rec.ResponseWriter).SetWriteDeadline(time.Now()) // so that the client sees that it is cut off
		return
	}
	p := problem(http.StatusInternalServerError, job.Internal, "Look for the request's id in the server's log", "something unexpected went wrong")
	p.RequestID = known.id
	p.write(rec)
}

// logged writes the access log. It has no query, header or body: tokens go
// there.
func (s *Server) logged(r *http.Request, rec *recorder, known *request, took time.Duration) {
	attrs := []slog.Attr{
		slog.String("id", known.id), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()),
		slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", took),
		slog.String("remote", r.RemoteAddr), slog.String("principal", known.who.Name),
	}
	if customer := r.Header.Get("Citrix-CustomerId"); customer != "" {
		attrs = append(attrs, slog.String("customer", customer[:min(len(customer), maxCustomerID)]))
	}
	level := slog.LevelInfo
	if public(r.URL.Path) && rec.status < http.StatusBadRequest {
		level = slog.LevelDebug // probes come every few seconds
	}
	s.Log.LogAttrs(r.Context(), level, "request", attrs...)
}
