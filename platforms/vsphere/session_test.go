package vsphere

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms"
)

var fixedTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func TestTrust(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ca := h.lab.CertificatePEM()
	other := startVCenter(t).lab.CertificatePEM()
	right := strings.ReplaceAll(h.where.VCenterSSLFingerprint, ":", "")
	wrong := "00" + right[2:]
	for what, tc := range map[string]struct {
		fingerprint, ca, host string
		anyName               bool
		kind                  platforms.Kind
		in                    string
	}{
		"fingerprint":                       {fingerprint: right},
		"fingerprint, another name":         {fingerprint: right, host: "127.0.0.3"},
		"fingerprint and CA":                {fingerprint: right, ca: ca},
		"CA":                                {ca: ca},
		"CA in one line":                    {ca: strings.ReplaceAll(ca, "\n", `\n`)},
		"CA of several":                     {ca: other + ca},
		"CA, another name, no name check":   {ca: ca, host: "127.0.0.3", anyName: true},
		"nothing":                           {kind: platforms.Denied, in: "authority"},
		"nothing, no name check":            {anyName: true, kind: platforms.Denied, in: "authority"},
		"wrong fingerprint":                 {fingerprint: wrong, kind: platforms.Denied, in: right},
		"wrong fingerprint, no name check":  {fingerprint: wrong, anyName: true, kind: platforms.Denied, in: right},
		"wrong fingerprint, right CA":       {fingerprint: wrong, ca: ca, kind: platforms.Denied, in: right},
		"right fingerprint, wrong CA":       {fingerprint: right, ca: other, kind: platforms.Denied, in: "authority"},
		"wrong CA":                          {ca: other, kind: platforms.Denied, in: "authority"},
		"CA, another name":                  {ca: ca, host: "127.0.0.3", kind: platforms.Denied, in: "127.0.0.3"},
		"wrong CA, no name check":           {ca: other, anyName: true, kind: platforms.Denied, in: "authority"},
		"no such host":                      {fingerprint: right, host: "vcenter.invalid", kind: platforms.NotFound, in: "vcenter.invalid"},
		"what is no fingerprint":            {fingerprint: "abc", kind: platforms.BadRequest, in: "SHA-256"},
		"what is no certificate":            {ca: "abc", kind: platforms.BadRequest, in: "PEM"},
		"a key":                             {ca: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", kind: platforms.BadRequest, in: "PRIVATE KEY"},
		"a certificate that does not parse": {ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", kind: platforms.BadRequest, in: "certificate 1"},
	} {
		where := h.where
		where.VCenterSSLFingerprint, where.VCenterSSLCACertificate, where.VCenterSSLNoCheckHostname = tc.fingerprint, tc.ca, tc.anyName
		if tc.host != "" {
			where.VCenterHost = tc.host
			if net.ParseIP(tc.host) != nil {
				where.VCenterPort = forward(t, tc.host, h.where.VCenterPort)
			}
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
// to the vCenter. It gives the port.
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
	began := runtime.NumGoroutine()
	p, err := New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	defer cancel()
	var first *session
	for i := range 3 {
		d, err := p.Open(gone, h.where)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			cancel() // what the session was opened with is not what it lives by
			gone = t.Context()
		}
		if _, err := d.List(gone); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = d.(*Driver).session
		} else if d.(*Driver).session != first {
			t.Error("another session")
		}
	}
	if n := first.logins.Load(); n != 1 {
		t.Errorf("logged in %d times", n)
	}
	d, err := p.Open(t.Context(), h.where)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
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
		"vCenterHost":          func(w *job.Target) { w.VCenterHost = "" },
		"datacenter":           func(w *job.Target) { w.Datacenter = "" },
		"datastore":            func(w *job.Target) { w.Datastore = "" },
		"network":              func(w *job.Target) { w.Network = "" },
		"platformCredentialId": func(w *job.Target) { w.PlatformCredentialID = "" },
		"cluster":              func(w *job.Target) { w.Cluster = "" },
		"hostSystem":           func(w *job.Target) { w.HostSystem = "x" },
		"vCenterPort":          func(w *job.Target) { w.VCenterPort = 70000 },
	} {
		where := h.where
		change(&where)
		if _, err := p.Open(t.Context(), where); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*Config){
		"credentials": func(c *Config) { c.Credential = nil },
		"either":      func(c *Config) { c.Template = "x" },
		"OVA":         func(c *Config) { c.Appliance = "" },
		"memory":      func(c *Config) { c.MemoryMB = 1 },
		"processors":  func(c *Config) { c.CPUs = 1000 },
	} {
		cfg := h.config()
		change(&cfg)
		if _, err := New(cfg); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
