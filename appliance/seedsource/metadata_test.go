package seedsource

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imageport/appliance/seedsource/media"
)

// imds is Azure's Instance Metadata Service with that userData, by what its
// reference says: what it wants of a request, and what it says otherwise.
func imds(userData string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "":
			http.Error(w, `{ "error": "Bad request. Required metadata header not specified" }`, http.StatusBadRequest)
		case r.URL.Path != "/metadata/instance/compute/userData":
			http.Error(w, `{ "error": "Not found" }`, http.StatusNotFound)
		case q.Get("api-version") < "2021-01-01" || q.Get("format") != "text":
			http.Error(w, `{ "error": "Bad request. api-version is invalid or was not specified in the request." }`, http.StatusBadRequest)
		default:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Server", "IMDS/150.870.65.1854")
			io.WriteString(w, userData)
		}
	}
}

// google is GCP's metadata server with that attribute.
func google(attribute string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		w.Header().Set("Server", "Metadata Server for VM")
		switch {
		case r.Header.Get("Metadata-Flavor") != "Google" || r.Header.Get("X-Forwarded-For") != "":
			http.Error(w, "Missing Metadata-Flavor:Google header.", http.StatusForbidden)
		case r.URL.Path != "/computeMetadata/v1/instance/attributes/imageport-ce" || attribute == "":
			w.Header().Set("Content-Type", "text/html; charset=UTF-8")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>\n")
		default:
			w.Header().Set("Content-Type", "application/text")
			w.Header().Set("ETag", "2c6ba5a1f1d2b3c4")
			io.WriteString(w, attribute)
		}
	}
}

func later(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func says(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "t0ken", status) }
}

// first gives the answers in turn; the last one stays.
func first(answers ...http.HandlerFunc) http.HandlerFunc {
	var asked atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(asked.Add(1)), len(answers))-1](w, r)
	}
}

func TestNetwork(t *testing.T) {
	const onAzure, onGCP = "Microsoft Corporation", "Google"
	b64 := media.Base64([]byte(raw))
	for _, c := range []struct {
		what, vendor string
		service      http.HandlerFunc
		err          string // nothing: the seed is found
		malformed    bool
		longest      time.Duration
	}{
		{"Azure", onAzure, imds(b64), "", false, 0},
		{"Azure, no userData", onAzure, imds(""), "Azure metadata: empty", false, 0},
		{"Azure, another cloud of the maker", onAzure, says(404), "Azure metadata: not there", false, 0},
		{"Azure, not base64", onAzure, imds(raw), "Azure metadata: malformed: no base64 at character 0", true, 0},
		{"Azure, too big", onAzure, imds(strings.Repeat("QUJD", 16<<10)), "Azure metadata: malformed: more than 4096 bytes", true, 0},
		{"Azure, too big by a little", onAzure, imds(media.Base64([]byte(tooBig))), "Azure metadata: malformed: more than 2048 bytes", true, 0},
		{"Azure, being moved", onAzure, first(says(410), says(429), says(500), imds(b64)), "", false, 3 * time.Second},
		{"Azure, too much to do", onAzure, says(429), "Azure metadata: HTTP status 429 Too Many Requests, for ", false, metadataPatience},
		{"Azure, a bad request", onAzure, says(400), "Azure metadata: HTTP status 400 Bad Request", false, 0},
		{"Azure, a redirection", onAzure, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("it is followed")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, "Azure metadata: HTTP status 302 Found", false, 0},
		{"GCP", onGCP, google(raw), "", false, 0},
		{"GCP, no attribute", onGCP, google(""), "GCP metadata: not there", false, 0},
		{"GCP, too big", onGCP, google(tooBig), "GCP metadata: malformed: more than 2048 bytes", true, 0},
		{"GCP, somebody else answers", onGCP, anybody(raw), "GCP metadata: the answer is not from the metadata service: no Metadata-Flavor: Google", false, 0},
		{"GCP, slow at first", onGCP, first(later, later, google(raw)), "", false, 2*attempt + time.Second},
		{"GCP, slow", onGCP, later, "GCP metadata: no answer in 3s, for ", false, metadataPatience + attempt},
		{"GCP, unwell", onGCP, says(503), "GCP metadata: HTTP status 503 Service Unavailable, for ", false, metadataPatience},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, c.vendor, "")
				m.HTTP = NewClient()
				m.HTTP.Transport = handled(c.service)
				began := time.Now()
				got, source, err := Network(t.Context(), m.Env)
				if took := time.Since(began); took > c.longest {
					t.Errorf("it takes %s", took)
				}
				if c.err == "" {
					if err != nil || string(got) != raw || !strings.HasSuffix(source, " metadata") {
						t.Errorf("%q from %q, %v", got, source, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.err) || errors.Is(err, ErrMalformed) != c.malformed {
					t.Errorf("%v, want %s", err, c.err)
				} else if strings.Contains(err.Error(), "t0k") {
					t.Errorf("%v quotes the answer", err)
				}
			})
		})
	}
}

// anybody gives the content to everybody.
func anybody(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content) }
}

// TestClient goes over a real connection, with the client that a CE uses.
func TestClient(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:3128")
	t.Setenv("http_proxy", "http://192.0.2.1:3128")
	for vendor, service := range map[string]http.HandlerFunc{
		"Microsoft Corporation": imds(media.Base64([]byte(raw))),
		"Google":                google(raw),
	} {
		server := httptest.NewServer(service)
		m := newMachine(t, vendor, "")
		m.Metadata, m.HTTP = server.URL, NewClient()
		if got, _, err := Network(t.Context(), m.Env); err != nil || string(got) != raw {
			t.Errorf("%s: %q, %v", vendor, got, err)
		}
		server.Close()
	}
}

// Nobody listens until the service is up.
func TestServiceComesLate(t *testing.T) {
	server := httptest.NewUnstartedServer(google(raw))
	address := server.Listener.Addr().String()
	server.Listener.Close()
	m := newMachine(t, "Google", "")
	m.Metadata, m.HTTP = "http://"+address, NewClient()
	up := time.AfterFunc(600*time.Millisecond, func() {
		var err error
		if server.Listener, err = net.Listen("tcp", address); err != nil {
			t.Error(err)
			return
		}
		server.Start()
	})
	defer up.Stop()
	got, _, err := Network(t.Context(), m.Env)
	if err != nil || string(got) != raw {
		t.Errorf("%q, %v", got, err)
	}
	server.Close()
}
