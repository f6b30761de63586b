package vsphere

import (
	"crypto/rand"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"imageport/job"
	"imageport/platforms/platformtest"
)

// TestConformance runs against a simulated vCenter for each case, over TLS.
//
// With IMAGEPORT_VCENTER_URL (https://host:port) it runs against that vCenter,
// one case after another. The other variables then are
// IMAGEPORT_VCENTER_USERNAME, _PASSWORD, _FINGERPRINT (or _CA, a PEM file),
// _DATACENTER, _DATASTORE, _CLUSTER (or _HOST), _POOL, _FOLDER (must be there,
// and empty), _NETWORK, and IMAGEPORT_APPLIANCE, the appliance's OVA. The user
// needs the privileges of docs/vsphere-privileges.md. Output disks go to a new
// directory imageport-test-… of the datastore, which is left empty.
func TestConformance(t *testing.T) {
	platformtest.RunOn(t, "IMAGEPORT_VCENTER_URL", realHarness, newHarness)
}

func realHarness(t *testing.T) *harness {
	t.Helper()
	env := func(name string) string { return os.Getenv("IMAGEPORT_VCENTER_" + name) }
	u, err := url.Parse(env("URL"))
	if err != nil {
		t.Fatal(err)
	}
	where := job.Target{Platform: job.PlatformVSphere, PlatformCredentialID: "vcenter"}
	where.VSphere = job.VSphere{
		VCenterHost: u.Hostname(), VCenterSSLFingerprint: env("FINGERPRINT"), Datacenter: env("DATACENTER"), Datastore: env("DATASTORE"),
		Cluster: env("CLUSTER"), HostSystem: env("HOST"), ResourcePool: env("POOL"), Folder: env("FOLDER"),
	}
	where.Network = env("NETWORK")
	if u.Port() != "" {
		if where.VCenterPort, err = strconv.Atoi(u.Port()); err != nil {
			t.Fatal(err)
		}
	}
	if file := env("CA"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		where.VCenterSSLCACertificate = string(pem)
	}
	h := &harness{
		center: &center{
			where: where, username: env("USERNAME"), password: env("PASSWORD"), images: "imageport-test-" + strings.ToLower(rand.Text()[:8]),
		},
		ova: os.Getenv("IMAGEPORT_APPLIANCE"),
	}
	h.setEye(t)
	return h
}
