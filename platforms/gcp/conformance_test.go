package gcp

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms/platformtest"
)

// TestConformance runs against a simulated Google Cloud for each case.
//
// With IMAGEPORT_GCP_PROJECT it runs in that project, one case after another. The
// other variables then are IMAGEPORT_GCP_KEY, the key file of a service account
// (without, the application default credentials), _ZONES (one or more of one region,
// with commas), _NETWORK, _SUBNETWORK, _TAGS, and _IMAGE, or _BUCKET with
// IMAGEPORT_APPLIANCE, the appliance's tarball for Google Cloud. The account needs
// the permissions of docs/gcp-permissions.md. There must be no other instances and
// disks in those zones: what is there counts as left behind. Output disks are called
// imageport-test-…, and are removed.
func TestConformance(t *testing.T) {
	platformtest.RunOn(t, "IMAGEPORT_GCP_PROJECT", realHarness, newHarness)
}

func realHarness(t *testing.T) *harness {
	t.Helper()
	env := func(name string) string { return os.Getenv("IMAGEPORT_GCP_" + name) }
	cred := Credential{ProjectID: env("PROJECT"), ApplicationDefault: env("KEY") == ""}
	if file := env("KEY"); file != "" {
		var err error
		if cred.KeyJSON, err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	first, others, _ := strings.Cut(env("ZONES"), ",")
	where := job.Target{Platform: job.PlatformGCP, PlatformCredentialID: "gcp"}
	where.GCP = job.GCP{
		GCPProject: env("PROJECT"), GCPZone: first, GCPZones: job.Names(others), VPCNetworkName: env("NETWORK"), VPCNetworkSubnetName: env("SUBNETWORK"),
		GCPNetworkTags: job.Names(env("TAGS")),
	}
	cfg := Config{Credential: credential(cred), Image: env("IMAGE"), Bucket: env("BUCKET"), PollInterval: time.Second}
	if cfg.Image == "" {
		cfg.Appliance = os.Getenv("IMAGEPORT_APPLIANCE")
	}
	h := &harness{cfg: cfg, where: where, place: "imageport-test-" + strings.ToLower(rand.Text()[:8])}
	h.eye = h.open(t, cfg, where)
	return h
}
