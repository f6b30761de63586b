package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/httpapi"
	"imageport/starter/httpapi/auth"
	"imageport/starter/startertest"
)

func TestBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	status, header, body := s.call(t, s.operator, "POST", "/images/$convertToUefi", `{"a":"`+strings.Repeat("x", 2<<20)+`"}`)
	isProblem(t, "too long", status, header, body, http.StatusRequestEntityTooLarge, job.BadRequest)
	status, header, body = s.call(t, s.admin, "POST", "/credentials", `{"a":"`+strings.Repeat("x", 64<<10)+`"}`)
	isProblem(t, "too long a credential", status, header, body, http.StatusRequestEntityTooLarge, job.BadRequest)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", ";"} {
		status, header, body = s.call(t, s.operator, "POST", "/images/$convertToUefi", startertest.Body(s.queue, s.image, "out"), "Content-Type: "+contentType)
		isProblem(t, contentType, status, header, body, http.StatusUnsupportedMediaType, job.BadRequest)
	}
	deep := `{"inputStorageLocation":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"
	status, header, body = s.call(t, s.operator, "POST", "/images/$convertToUefi", deep)
	isProblem(t, "deep", status, header, body, http.StatusBadRequest, job.BadRequest)
}

// brokenAuth panics for a token.
type brokenAuth struct{ auth.Authenticator }

func (b brokenAuth) Authenticate(ctx context.Context, token string) (auth.Principal, error) {
	switch token {
	case "panic":
		panic("with a secret")
	case "down":
		return auth.Principal{}, fmt.Errorf("%w: no route", auth.ErrUnavailable)
	case "odd":
		return auth.Principal{}, errors.New("an inner detail")
	}
	return b.Authenticator.Authenticate(ctx, token)
}

func TestDefectsAreNotShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *httpapi.Config) { c.Auth = brokenAuth{c.Auth} })
	for token, want := range map[string]struct {
		status int
		code   job.Code
	}{"panic": {500, job.Internal}, "odd": {500, job.Internal}, "down": {503, job.Unauthenticated}} {
		status, header, body := s.call(t, token, "GET", "/jobs", nil)
		p := isProblem(t, token, status, header, body, want.status, want.code)
		if strings.Contains(string(body), "secret") || strings.Contains(string(body), "inner") || strings.Contains(string(body), "no route") {
			t.Errorf("%s: %s", token, body)
		}
		if !strings.Contains(s.log.String(), p.RequestID) {
			t.Errorf("%s is not in the log", p.RequestID)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *httpapi.Config) { c.MaxStreams = 2 })
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	s.until(t, started.ID, working)
	_, _, stop := s.listen(t, "", started.ID, "")
	s.listen(t, "", started.ID, "")
	status, header, body := s.call(t, s.viewer, "GET", "/jobs/"+started.ID+"?wait=1s&after=x", nil)
	isProblem(t, "a third one", status, header, body, http.StatusTooManyRequests, job.TooManyRequests)
	if header.Get("Retry-After") == "" {
		t.Error("it does not say when to come again")
	}
	stop()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if status, _, _ = s.call(t, s.viewer, "GET", "/jobs/"+started.ID+"?wait=1s&after=x", nil); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that was closed still counts")
		}
	}
	if status, _, body = s.call(t, s.operator, "DELETE", "/jobs/"+started.ID, nil); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
}

// TestServe speaks HTTP by hand with a server as Serve runs it, without Temporal.
func TestServe(t *testing.T) {
	t.Parallel()
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := httpapi.New(httpapi.Config{Jobs: starter.New(c), Auth: auth.Keys{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln, nil) }()
	for _, tc := range []struct {
		name, request string
		want          int
	}{
		{"health", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"not ready", "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 503},
		{"a head too long", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		{"two lengths", "POST /jobs/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		{"length and chunks", "POST /jobs/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 401},
		{"an odd encoding", "POST /jobs/x/cancel HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 501},
		{"a path that climbs", "GET /healthz/../jobs HTTP/1.1\r\nHost: x\r\n\r\n", 401},
		{"an escaped path that climbs", "GET /healthz%2f..%2fjobs HTTP/1.1\r\nHost: x\r\n\r\n", 401},
		{"an escaped path", "GET /%68ealthz HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"an absolute path", "GET http://x/jobs HTTP/1.1\r\nHost: x\r\n\r\n", 401},
		{"a method", "TRACE /jobs HTTP/1.1\r\nHost: x\r\n\r\n", 401},
		{"no host", "GET /healthz HTTP/1.1\r\n\r\n", 400},
	} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		go func() { _, _ = io.WriteString(conn, tc.request) }() // the server may not read all of it
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if answer.StatusCode != tc.want {
			t.Errorf("%s: %s", tc.name, answer.Status)
		}
		conn.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServerNeedsToKnowWhoAsks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, change := range []func(*httpapi.Config){
		func(c *httpapi.Config) { c.Auth = nil },
		func(c *httpapi.Config) { c.Open = true },
		func(c *httpapi.Config) { c.Jobs = nil },
	} {
		bad := s.config
		change(&bad)
		if _, err := httpapi.New(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
