package httpapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/httpapi"
	"imageport/starter/httpapi/auth"
	"imageport/starter/startertest"
	"imageport/testkit/devserver"
)

// site is a resource location with a server in front of it.
type site struct {
	*httptest.Server
	api      *httpapi.Server
	config   httpapi.Config
	temporal client.Client
	queue    string // the resource location
	image    string
	log      *lockedBuffer
	wallet   *memoryWallet

	admin, operator, viewer, keeper, stranger string // tokens
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newSite gives a site without a worker.
func newSite(t *testing.T, change ...func(*httpapi.Config)) *site {
	t.Helper()
	c := devserver.Start(t)
	unique := uuid.NewString()[:8]
	s := &site{temporal: c, queue: "location-" + unique, image: "win10-" + unique, log: new(lockedBuffer), wallet: new(memoryWallet)}
	var keys auth.Keys
	for _, k := range []struct {
		name  string
		token *string
		grant auth.Grant
	}{
		{"admin", &s.admin, auth.Grant{ResourceLocations: []string{auth.Everywhere}, Credentials: true}},
		{"operator", &s.operator, auth.Grant{ResourceLocations: []string{s.queue}}},
		{"viewer", &s.viewer, auth.Grant{ResourceLocations: []string{s.queue}, ReadOnly: true}},
		{"keeper", &s.keeper, auth.Grant{Credentials: true}},
		{"stranger", &s.stranger, auth.Grant{ResourceLocations: []string{"other-" + unique}}},
	} {
		var err error
		if keys, _, *k.token, err = keys.With(k.name, k.grant, time.Now(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	s.config = httpapi.Config{Jobs: starter.New(c), Auth: keys, Credentials: s.wallet, Version: "1.2.3", Beat: time.Second,
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&s.config)
	}
	s.open(t)
	return s
}

// open starts the server.
func (s *site) open(t *testing.T) {
	t.Helper()
	var err error
	if s.api, err = httpapi.New(s.config); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(s.api)
	t.Cleanup(func() {
		s.api.Close()
		s.Server.Close()
	})
}

// call sends a request, and gives the status, the headers and the body of the
// answer. Headers are "name: value".
func (s *site) call(t *testing.T, token, method, path string, body any, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	r := s.request(t, token, method, path, body, headers...)
	answer, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, b
}

func (s *site) request(t *testing.T, token, method, path string, body any, headers ...string) *http.Request {
	t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json;charset=utf-8")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// decode reads an answer, and fails the test if it has not that status.
func decode[T any](t *testing.T, want, status int, body []byte) T {
	t.Helper()
	var v T
	if status != want {
		t.Fatalf("status %d, want %d: %s", status, want, body)
	}
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

// start starts a job that ends so.
func (s *site) start(t *testing.T, ends string) httpapi.Started {
	t.Helper()
	status, _, body := s.call(t, s.operator, "POST", "/images/$convertToUefi", startertest.Body(s.queue, s.image, ends))
	return decode[httpapi.Started](t, http.StatusAccepted, status, body)
}

// until polls a job until it is so.
func (s *site) until(t *testing.T, id string, ok func(httpapi.Job) bool) httpapi.Job {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, _, body := s.call(t, s.operator, "GET", "/jobs/"+id, nil)
		j := decode[httpapi.Job](t, http.StatusOK, status, body)
		if ok(j) {
			return j
		}
		if time.Now().After(deadline) {
			t.Fatalf("never so: %s", body)
		}
	}
}

func working(j httpapi.Job) bool { return j.Progress != nil && j.Progress.Step == "write" }

// isProblem checks an error answer.
func isProblem(t *testing.T, what string, status int, header http.Header, body []byte, want int, code job.Code) httpapi.Problem {
	t.Helper()
	var p httpapi.Problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Errorf("%s: %d %v: %s", what, status, err, body)
		return p
	}
	if status != want || p.Status != want || p.Code != code || header.Get("Content-Type") != "application/problem+json" ||
		p.Detail == "" || p.Title == "" || p.RequestID == "" || p.RequestID != header.Get("X-Request-Id") {
		t.Errorf("%s: want %d %s, got %d %v: %s", what, want, code, status, header, body)
	}
	return p
}

// memoryWallet is a wallet in memory.
type memoryWallet struct {
	mu  sync.Mutex
	all []httpapi.Credential
}

func (w *memoryWallet) List(context.Context) ([]httpapi.Credential, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all), nil
}

func (w *memoryWallet) Put(_ context.Context, id string, object json.RawMessage, replace bool) (httpapi.Credential, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var c httpapi.Credential
	if err := json.Unmarshal(object, &c); err != nil {
		return c, job.Errorf(job.BadRequest, "", "it is no credential")
	}
	c.ID, c.State = id, "Ok"
	i := slices.IndexFunc(w.all, func(old httpapi.Credential) bool { return old.ID == id })
	switch {
	case i < 0:
		w.all = append(w.all, c)
	case !replace:
		return c, fmt.Errorf("%q: %w", id, httpapi.ErrCredentialExists)
	default:
		w.all[i] = c
	}
	return c, nil
}

func (w *memoryWallet) Remove(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.all, func(c httpapi.Credential) bool { return c.ID == id })
	if i < 0 {
		return job.Errorf(job.UnknownCredential, "", "there is no credential %q", id)
	}
	w.all = slices.Delete(w.all, i, i+1)
	return nil
}
