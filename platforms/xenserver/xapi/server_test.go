package xapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// server answers calls by functions.
type server struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	sessions int
	valid    map[string]bool
	calls    []string
	methods  map[string]func(params []any) (any, *Error)
	put      http.HandlerFunc
}

func newServer(t testing.TB) *server {
	s := &server{t: t, valid: make(map[string]bool), methods: make(map[string]func([]any) (any, *Error))}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /jsonrpc", s.rpc)
	mux.HandleFunc("PUT "+importPath, func(w http.ResponseWriter, r *http.Request) { s.put(w, r) })
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	s.methods["task.destroy"] = func([]any) (any, *Error) { return "", nil }
	s.methods["task.cancel"] = func([]any) (any, *Error) { return "", nil }
	s.methods["session.logout"] = func(params []any) (any, *Error) {
		delete(s.valid, params[0].(string))
		return "", nil
	}
	return s
}

func (s *server) rpc(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Version string `json:"jsonrpc"`
		Method  string
		Params  []any
		ID      int
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil || call.Version != "2.0" || call.ID == 0 {
		s.t.Errorf("a request %+v, %v", call, err)
	}
	s.mu.Lock()
	s.calls = append(s.calls, call.Method)
	result, failure := s.answer(call.Method, call.Params)
	s.mu.Unlock()
	answer := map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": result}
	if failure != nil {
		answer = map[string]any{"jsonrpc": "2.0", "id": call.ID, "error": map[string]any{"code": 1, "message": failure.Code, "data": failure.Params}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *server) answer(method string, params []any) (any, *Error) {
	f := s.methods[method]
	switch {
	case method == "session.login_with_password" && f == nil:
		if params[0] != "root" || params[1] != "secret" || len(params) != 4 {
			return nil, &Error{Code: "SESSION_AUTHENTICATION_FAILED", Params: []string{"root", "no"}}
		}
		s.sessions++
		session := fmt.Sprintf("OpaqueRef:session-%d", s.sessions)
		s.valid[session] = true
		return session, nil
	case method != "session.login_with_password" && (len(params) == 0 || !s.valid[fmt.Sprint(params[0])]):
		return nil, &Error{Code: codeSessionInvalid, Params: []string{"x"}}
	case f == nil:
		return nil, &Error{Code: "MESSAGE_METHOD_UNKNOWN", Params: []string{method}}
	}
	return f(params)
}

func (s *server) handle(method string, f func(params []any) (any, *Error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.methods[method] = f
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

// called counts the calls of a method.
func (s *server) called(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, m := range s.calls {
		if m == method {
			n++
		}
	}
	return n
}

// task makes a method one that runs as a task with that record.
func (s *server) task(method string, record func(looks int) map[string]any) {
	ref := "OpaqueRef:task-" + method
	s.handle("Async."+method, func([]any) (any, *Error) { return ref, nil })
	looks := 0
	s.handle("task.get_record", func(params []any) (any, *Error) {
		if params[1] != ref {
			return nil, &Error{Code: codeHandleInvalid, Params: []string{"task", fmt.Sprint(params[1])}}
		}
		looks++
		return record(looks), nil
	})
}

func (s *server) client(t testing.TB, change func(*Config)) *Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	cfg := Config{
		Address: s.Listener.Addr().String(), Username: "root", Password: "secret", Poll: time.Millisecond, Settle: 200 * time.Millisecond,
		DialTLS: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "example.com"}}).DialContext(ctx, network, address)
		},
	}
	if change != nil {
		change(&cfg)
	}
	c := New(cfg)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}
