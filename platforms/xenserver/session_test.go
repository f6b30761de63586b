package xenserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"imageport/job"
	labxapi "imageport/lab/xapi"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

func TestTrust(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ca := h.lab.CertificatePEM()
	other := newHarness(t).lab.CertificatePEM()
	right := strings.ReplaceAll(h.where.XenSSLFingerprint, ":", "")
	wrong := "00" + right[2:]
	for what, tc := range map[string]struct {
		fingerprint, ca, host string
		anyName               bool
		kind                  platforms.Kind
		in                    string
	}{
		"fingerprint":                     {fingerprint: right},
		"fingerprint, another name":       {fingerprint: right, host: "127.0.0.3"},
		"fingerprint and CA":              {fingerprint: right, ca: ca},
		"CA":                              {ca: ca},
		"CA in one line":                  {ca: strings.ReplaceAll(ca, "\n", `\n`)},
		"CA, another name, no name check": {ca: ca, host: "127.0.0.3", anyName: true},
		"nothing":                         {kind: platforms.Denied, in: "authority"},
		"nothing, no name check":          {anyName: true, kind: platforms.Denied, in: "authority"},
		"wrong fingerprint":               {fingerprint: wrong, kind: platforms.Denied, in: right},
		"wrong fingerprint, right CA":     {fingerprint: wrong, ca: ca, kind: platforms.Denied, in: right},
		"right fingerprint, wrong CA":     {fingerprint: right, ca: other, kind: platforms.Denied, in: "authority"},
		"CA, another name":                {ca: ca, host: "127.0.0.3", kind: platforms.Denied, in: "127.0.0.3"},
		"what is no fingerprint":          {fingerprint: "abc", kind: platforms.BadRequest, in: "xenSslFingerprint"},
		"what is no certificate":          {ca: "abc", kind: platforms.BadRequest, in: "xenSslCaCertificate"},
	} {
		where := h.where
		where.XenSSLFingerprint, where.XenSSLCACertificate, where.XenSSLNoCheckHostname = tc.fingerprint, tc.ca, tc.anyName
		if tc.host != "" {
			where.XenHost = tc.host
			where.XenPort = forward(t, tc.host, h.where.XenPort)
		}
		p, err := New(h.config())
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Open(t.Context(), where)
		if err == nil {
			_, err = d.List(t.Context())
		}
		if platforms.KindOf(err) != tc.kind || err != nil && !strings.Contains(strings.ToUpper(err.Error()), strings.ToUpper(tc.in)) {
			t.Errorf("%s: %s, %v; want %q with %q", what, platforms.KindOf(err), err, tc.kind, tc.in)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
	}
}

// forward takes connections at another address of this machine, and passes them
// to the pool. It gives the port.
func forward(t *testing.T, address string, to int) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				there, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
				if err != nil {
					return
				}
				defer there.Close()
				go func() { _, _ = io.Copy(there, from) }()
				_, _ = io.Copy(from, there)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// A request may name any host of the pool: that sends us to the coordinator, whose
// certificate is checked as well.
func TestAnyHostOfThePool(t *testing.T) {
	t.Parallel()
	h := startHarness(t, labxapi.Config{SupporterListen: "127.0.0.2:0"})
	for what, change := range map[string]func(*job.Target){
		"fingerprint": func(*job.Target) {},
		"CA":          func(w *job.Target) { w.XenSSLFingerprint, w.XenSSLCACertificate = "", h.lab.CertificatePEM() },
	} {
		where := h.where
		where.XenHost, where.XenPort = h.lab.SupporterHost(), h.lab.SupporterPort()
		change(&where)
		d := h.open(t, h.config(), where)
		call := testCall(h, platformtest.Create)
		if err := call.Do(t.Context(), d); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, verb := range []platformtest.Verb{platformtest.AddDisk, platformtest.KeepDisk, platformtest.List} {
			if err := testCall(h, verb).Do(t.Context(), d); err != nil {
				t.Errorf("%s: %s: %v", what, verb, err)
			}
		}
		h.removeBase(t)
		clean(t, h)
	}
}

// Where a fingerprint is all that vouches for the coordinator, it tells those of the
// other hosts, to which it may send a disk's bytes.
func TestLearnHosts(t *testing.T) {
	for what, tc := range map[string]struct {
		pin, certificates string
		want              map[string]string
	}{
		"told": {"AA", `{"result":{
			"OpaqueRef:c1":{"type":"host","host":"OpaqueRef:h1","fingerprint":"BB"},
			"OpaqueRef:c2":{"type":"host","host":"OpaqueRef:h2","fingerprint":"CC"},
			"OpaqueRef:c3":{"type":"host_internal","host":"OpaqueRef:h2","fingerprint":"DD"},
			"OpaqueRef:c4":{"type":"host","host":"OpaqueRef:gone","fingerprint":"EE"}}}`,
			map[string]string{"10.0.0.1:443": "BB", "10.0.0.2:443": "CC", "10.0.0.3:443": "AA", "x": "AA"}},
		"an old pool": {"AA", `{"error":{"message":"MESSAGE_METHOD_UNKNOWN"}}`, map[string]string{"10.0.0.2:443": "AA"}},
		"a CA":        {"", `{"error":{"message":"INTERNAL_ERROR"}}`, map[string]string{"10.0.0.2:443": ""}},
	} {
		p := &pool{hosts: &hostKeys{pin: tc.pin}, client: xapi.New(xapi.Config{Wrap: func(http.RoundTripper) http.RoundTripper {
			return way(func(req *http.Request) (*http.Response, error) {
				answer := `{"result":"OpaqueRef:session"}`
				switch methodOf(req) {
				case "host.get_all_records":
					answer = `{"result":{"OpaqueRef:h1":{"address":"10.0.0.1"},"OpaqueRef:h2":{"address":"10.0.0.2"}}}`
				case "Certificate.get_all_records":
					answer = tc.certificates
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
			})
		}})}
		if err := p.learnHosts(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for address, want := range tc.want {
			if got := p.hosts.fingerprint(address); got != want {
				t.Errorf("%s: %s has %q, want %q", what, address, got, want)
			}
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg := h.config()
	cfg.Credential = func(context.Context, string) (string, string, error) { return h.username, "wrong-and-secret", nil }
	_, err := h.open(t, cfg, h.where).List(t.Context())
	if platforms.KindOf(err) != platforms.Denied || strings.Contains(err.Error(), "wrong-and-secret") {
		t.Errorf("wrong password: %v", err)
	}
	cfg.Credential = func(context.Context, string) (string, string, error) {
		return "", "", job.Errorf(job.UnknownCredential, "r", "m")
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), h.where); job.CodeOf(err) != job.UnknownCredential {
		t.Errorf("no such credential: %v", err)
	}
}

// Drivers of one platform share a session, which is closed with it; nothing runs on.
func TestSessionsAreShared(t *testing.T) {
	h := newHarness(t)
	h.lab.EndSessions()
	began := runtime.NumGoroutine()
	p, err := New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	var first *xapi.Client
	for range 3 {
		d, err := p.Open(t.Context(), h.where)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = d.(*Driver).client
		} else if d.(*Driver).client != first {
			t.Error("another session")
		}
	}
	if n := len(h.lab.Records("session")); n != 1 {
		t.Errorf("%d sessions", n)
	}
	d, err := p.Open(t.Context(), h.where)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(h.lab.Records("session")); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if _, err := d.List(t.Context()); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("a driver of a platform that was closed: %v", err)
	}
	if _, err := p.Open(t.Context(), h.where); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("Open of a platform that was closed: %v", err)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > began+2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), began)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, err := New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*job.Target){
		"xenHost":                  func(w *job.Target) { w.XenHost = "" },
		"storageRepositoryUuid":    func(w *job.Target) { w.StorageRepositoryUUID = "" },
		"UUID of a storage reposi": func(w *job.Target) { w.StorageRepositoryUUID = "Local storage" },
		"network":                  func(w *job.Target) { w.Network = "" },
		"platformCredentialId":     func(w *job.Target) { w.PlatformCredentialID = "" },
		"xenPort":                  func(w *job.Target) { w.XenPort = 70000 },
	} {
		where := h.where
		change(&where)
		if _, err := p.Open(t.Context(), where); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*Config){
		"credentials":   func(c *Config) { c.Credential = nil },
		"appliance":     func(c *Config) { c.Appliance = "" },
		"memory":        func(c *Config) { c.MemoryMB = 1 },
		"processors":    func(c *Config) { c.CPUs = 1000 },
		"poll interval": func(c *Config) { c.PollInterval = -1 },
	} {
		cfg := h.config()
		change(&cfg)
		if _, err := New(cfg); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
