package xenserver

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"imageport/job"
	labxapi "imageport/lab/xapi"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

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
		call := platformtest.NewCall(h, platformtest.Create)
		if err := call.Do(t.Context(), d); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, verb := range []platformtest.Verb{platformtest.AddDisk, platformtest.KeepDisk, platformtest.List} {
			if err := platformtest.NewCall(h, verb).Do(t.Context(), d); err != nil {
				t.Errorf("%s: %s: %v", what, verb, err)
			}
		}
		h.Forget(t)
		platformtest.Clean(t, h)
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

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, err := New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	platformtest.Refuses(t, h.where, func(w job.Target) error {
		_, err := p.Open(t.Context(), w)
		return err
	}, map[string]func(*job.Target){
		"xenHost":                  func(w *job.Target) { w.XenHost = "" },
		"storageRepositoryUuid":    func(w *job.Target) { w.StorageRepositoryUUID = "" },
		"UUID of a storage reposi": func(w *job.Target) { w.StorageRepositoryUUID = "Local storage" },
		"network":                  func(w *job.Target) { w.Network = "" },
		"platformCredentialId":     func(w *job.Target) { w.PlatformCredentialID = "" },
		"xenPort":                  func(w *job.Target) { w.XenPort = 70000 },
	})
	platformtest.Refuses(t, h.config(), func(c Config) error {
		_, err := New(c)
		return err
	}, map[string]func(*Config){
		"credentials":   func(c *Config) { c.Credential = nil },
		"appliance":     func(c *Config) { c.Appliance = "" },
		"memory":        func(c *Config) { c.MemoryMB = 1 },
		"processors":    func(c *Config) { c.CPUs = 1000 },
		"poll interval": func(c *Config) { c.PollInterval = -1 },
	})
}
