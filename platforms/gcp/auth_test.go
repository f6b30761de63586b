package gcp

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func TestApplicationDefault(t *testing.T) {
	h := newHarness(t)
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, h.cloud.KeyJSON(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	h.cfg.Credential = credential(Credential{ApplicationDefault: true, ProjectID: h.cloud.Project()})
	platformtest.Do(t, h, platformtest.Check)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file+"x")
	if err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), "application default credentials") {
		t.Errorf("%v", err)
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stranger := startCloud(t, gce.Config{Project: "imageport-other"})
	for what, key := range map[string][]byte{
		"no JSON":         []byte("-----BEGIN secret"),
		"no key":          []byte(`{"type":"service_account","project_id":"imageport-lab","private_key":"secret"}`),
		"another type":    []byte(`{"type":"external_account","project_id":"imageport-lab","credential_source":{"executable":{"command":"secret"}}}`),
		"another account": bytes.ReplaceAll(h.cloud.KeyJSON(), []byte(h.cloud.Account()), []byte(stranger.Account())),
	} {
		h.cfg.Credential = credential(Credential{KeyJSON: key, ProjectID: h.cloud.Project()})
		err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t))
		if platforms.KindOf(err) != platforms.Denied || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Nobody answers, or answers nonsense.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	broken := errors.New("connection reset")
	h.cfg.Wrap = func(http.RoundTripper) http.RoundTripper {
		return tripper(func(*http.Request) (*http.Response, error) { return nil, broken })
	}
	if err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Busy || !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	h.cfg.Wrap, h.cfg.Endpoint = nil, "http://127.0.0.1:1"
	if err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("%v", err)
	}
}

// A token that is never taken is asked for twice, not for ever.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cloud.Inject("compute.instances.get", gce.Fault{Status: http.StatusUnauthorized, Reason: "authError", Message: "Invalid Credentials"}, 0)
	if err := platformtest.NewCall(h, platformtest.Find).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), "HTTP 401") {
		t.Errorf("%v", err)
	}
}
