package xenserver

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"imageport/job"
	"imageport/platforms/platformtest"
)

// TestConformance runs against a simulated pool for each case, over TLS.
//
// With IMAGEPORT_XEN_URL (https://host:port) it runs against that pool, one case
// after another. The other variables then are IMAGEPORT_XEN_USERNAME, _PASSWORD,
// _FINGERPRINT (or _CA, a PEM file), _SR (UUID), _NETWORK (name or UUID), and
// IMAGEPORT_APPLIANCE, the appliance's raw disk. The user needs the permissions of
// docs/xenserver-role.md. Output disks are VDIs with a name of their own for each
// run, imageport-test-…; none is left.
func TestConformance(t *testing.T) {
	platformtest.RunOn(t, "IMAGEPORT_XEN_URL", realHarness, newHarness)
}

func realHarness(t *testing.T) *harness {
	t.Helper()
	env := func(name string) string { return os.Getenv("IMAGEPORT_XEN_" + name) }
	u, err := url.Parse(env("URL"))
	if err != nil {
		t.Fatal(err)
	}
	where := job.Target{Platform: job.PlatformXenServer, PlatformCredentialID: "pool"}
	where.XenHost, where.XenSSLFingerprint, where.StorageRepositoryUUID, where.Network = u.Hostname(), env("FINGERPRINT"), env("SR"), env("NETWORK")
	if u.Port() != "" {
		if where.XenPort, err = strconv.Atoi(u.Port()); err != nil {
			t.Fatal(err)
		}
	}
	if file := env("CA"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		where.XenSSLCACertificate = string(pem)
	}
	h := &harness{
		real: true, where: where, username: env("USERNAME"), password: env("PASSWORD"), appliance: os.Getenv("IMAGEPORT_APPLIANCE"),
		outputs: "imageport-test-" + strings.ToLower(rand.Text()[:8]) + " ",
	}
	h.eye = h.open(t, h.config(), h.where)
	if _, err := h.eye.List(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.foreign = h.everything(t)
	return h
}
