package gcp

import (
	"context"
	"errors"
	"strings"
	"testing"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func TestNewRefuses(t *testing.T) {
	good := Config{Credential: credential(Credential{}), Appliance: "a.tar.gz", Bucket: "b"}
	platformtest.Refuses(t, good, func(c Config) error {
		_, err := New(c)
		return err
	}, map[string]func(*Config){
		"no source of credentials": func(c *Config) { c.Credential = nil },
		"want either":              func(c *Config) { c.Appliance = "" },
		"want either the":          func(c *Config) { c.Image = "projects/p-12345/global/images/x" },
		"want a bucket":            func(c *Config) { c.Bucket = "" },
		"and none for an image":    func(c *Config) { c.Appliance, c.Image = "", "projects/p-12345/global/images/x" },
		"machine type":             func(c *Config) { c.MachineType = "E2" },
		"image \"x\"":              func(c *Config) { c.Appliance, c.Bucket, c.Image = "", "", "x" },
		"poll interval":            func(c *Config) { c.PollInterval = -1 },
	})
}

func openPlace(t *testing.T, cred Credential, change func(*job.Target)) (*Driver, error) {
	t.Helper()
	p, err := New(Config{Credential: credential(cred), Appliance: "a.tar.gz", Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	where := job.Target{Platform: job.PlatformGCP, PlatformCredentialID: "gcp"}
	where.GCP = job.GCP{GCPZone: "europe-west3-a", VPCNetworkName: "net", VPCNetworkSubnetName: "sub"}
	change(&where)
	d, err := p.Open(t.Context(), where)
	if err != nil {
		return nil, err
	}
	return d.(*Driver), nil
}

func TestPlace(t *testing.T) {
	key := Credential{KeyJSON: []byte(`{"project_id":"of-the-key"}`)}
	for what, tc := range map[string]struct {
		cred   Credential
		change func(*job.Target)
		refuse string
		is     func(place) bool
	}{
		"the key's project":        {cred: key, is: func(p place) bool { return p.project == "of-the-key" && p.region == "europe-west3" }},
		"the credential's project": {cred: Credential{KeyJSON: key.KeyJSON, ProjectID: "of-the-credential"}, is: func(p place) bool { return p.project == "of-the-credential" }},
		"the request's project": {cred: key, change: func(w *job.Target) { w.GCPProject = "example.com:of-the-request" },
			is: func(p place) bool { return p.project == "example.com:of-the-request" }},
		"network": {cred: key, is: func(p place) bool {
			return p.network == "projects/of-the-key/global/networks/net" && p.subnet.String() == "projects/of-the-key/regions/europe-west3/subnetworks/sub"
		}},
		"shared VPC": {cred: key, change: func(w *job.Target) { w.VPCNetworkSubnetName = "projects/host-1/regions/europe-west3/subnetworks/s" },
			is: func(p place) bool {
				return p.network == "projects/host-1/global/networks/net" && p.subnet.String() == "projects/host-1/regions/europe-west3/subnetworks/s"
			}},
		"shared VPC, both full": {cred: key, change: func(w *job.Target) {
			w.VPCNetworkSubnetName, w.VPCNetworkName = "projects/host-1/regions/europe-west3/subnetworks/s", "projects/host-2/global/networks/n"
		}, is: func(p place) bool { return p.network == "projects/host-2/global/networks/n" }},
		"zones once each": {cred: key, change: func(w *job.Target) { w.GCPZones = "europe-west3-c, europe-west3-a,europe-west3-b" },
			is: func(p place) bool {
				return strings.Join(p.zones, " ") == "europe-west3-a europe-west3-c europe-west3-b"
			}},
		"machine type and tags": {cred: key, change: func(w *job.Target) { w.GCPMachineType, w.GCPNetworkTags = "n2-standard-2", "a,b" },
			is: func(p place) bool { return p.machine == "n2-standard-2" && len(p.tags) == 2 }},
		"the default machine type": {cred: key, is: func(p place) bool { return p.machine == "e2-medium" }},

		"no project":           {cred: Credential{ApplicationDefault: true}, refuse: "no gcpProject"},
		"no key":               {cred: Credential{}, refuse: "either a key or the application default"},
		"both":                 {cred: Credential{KeyJSON: []byte("x"), ApplicationDefault: true}, refuse: "either a key or the application default"},
		"no zone":              {cred: key, change: func(w *job.Target) { w.GCPZone = "" }, refuse: "no gcpZone"},
		"no network":           {cred: key, change: func(w *job.Target) { w.VPCNetworkName = "" }, refuse: "no vpcNetworkName"},
		"no subnetwork":        {cred: key, change: func(w *job.Target) { w.VPCNetworkSubnetName = "" }, refuse: "no vpcNetworkSubnetName"},
		"no credential":        {cred: key, change: func(w *job.Target) { w.PlatformCredentialID = "" }, refuse: "no platformCredentialId"},
		"bad project":          {cred: key, change: func(w *job.Target) { w.GCPProject = "../x" }, refuse: "project"},
		"a region for a zone":  {cred: key, change: func(w *job.Target) { w.GCPZone = "europe-west3" }, refuse: "zone"},
		"a path for a zone":    {cred: key, change: func(w *job.Target) { w.GCPZone = "zones/europe-west3-a" }, refuse: "zone"},
		"another region":       {cred: key, change: func(w *job.Target) { w.GCPZones = "europe-west4-a" }, refuse: "one region"},
		"subnet elsewhere":     {cred: key, change: func(w *job.Target) { w.VPCNetworkSubnetName = "projects/h-1/regions/us-west1/subnetworks/s" }, refuse: "not in the region"},
		"half a path":          {cred: key, change: func(w *job.Target) { w.VPCNetworkSubnetName = "regions/europe-west3/subnetworks/s" }, refuse: "vpcNetworkSubnetName"},
		"subnet with spaces":   {cred: key, change: func(w *job.Target) { w.VPCNetworkSubnetName = "a b" }, refuse: "vpcNetworkSubnetName"},
		"half a network":       {cred: key, change: func(w *job.Target) { w.VPCNetworkName = "global/networks/n" }, refuse: "vpcNetworkName"},
		"bad machine type":     {cred: key, change: func(w *job.Target) { w.GCPMachineType = "zones/x/machineTypes/e2" }, refuse: "gcpMachineType"},
		"bad tag":              {cred: key, change: func(w *job.Target) { w.GCPNetworkTags = "ok,Not_OK" }, refuse: "gcpNetworkTags"},
		"address without size": {cred: key, change: func(w *job.Target) { w.CENetwork = &job.CENetwork{Address: "10.0.0.1"} }, refuse: "ceNetwork"},
	} {
		if tc.change == nil {
			tc.change = func(*job.Target) {}
		}
		d, err := openPlace(t, tc.cred, tc.change)
		switch {
		case tc.refuse != "":
			if platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), tc.refuse) {
				t.Errorf("%s: %v; want it refused for %q", what, err, tc.refuse)
			}
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case !tc.is(d.place):
			t.Errorf("%s: %+v", what, d.place)
		}
	}
}

func TestOpenWallet(t *testing.T) {
	unknown := job.Errorf(job.UnknownCredential, "r", "m")
	for _, tc := range []struct {
		err  error
		same bool
	}{{unknown, true}, {errors.New("x"), false}} {
		p, err := New(Config{Credential: func(context.Context, string) (Credential, error) { return Credential{}, tc.err }, Appliance: "a", Bucket: "b"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Open(t.Context(), job.Target{PlatformCredentialID: "gcp"})
		if !errors.Is(err, tc.err) || (err == tc.err) != tc.same {
			t.Errorf("%v became %v", tc.err, err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, err := New(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Open(t.Context(), h.where)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Open(t.Context(), h.where)
	if err != nil || a.(*Driver).connection != b.(*Driver).connection {
		t.Errorf("two drivers of one credential do not share a connection: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), h.where); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("%v", err)
	}
}

func TestLabel(t *testing.T) {
	long := strings.Repeat("x", 64)
	for text, want := range map[string]string{
		"5d1b0c52-6c4a-4b2e-9d3e-0d8a1b2c3d4e": "5d1b0c52-6c4a-4b2e-9d3e-0d8a1b2c3d4e",
		"":                                     "sha256-", "Upper": "sha256-", "ä": "sha256-", long: "sha256-", "a b": "sha256-", "x_y-1": "x_y-1",
	} {
		if got := label(text); got != want && !(want == "sha256-" && strings.HasPrefix(got, want) && labelPattern.MatchString(got)) {
			t.Errorf("%q became %q", text, got)
		}
	}
	if label("A") == label("B") {
		t.Error("two owners have one label")
	}
}

func TestHasSCSI(t *testing.T) {
	for machine, want := range map[string]bool{
		"e2-medium": true, "n1-standard-1": true, "n2d-standard-2": true, "custom-2-4096": true, "e2-custom-2-4096": true,
		"c3-standard-4": false, "n4-standard-2": false, "c4a-standard-1": false, "e22-medium": false, "": false,
	} {
		if hasSCSI(machine) != want {
			t.Errorf("%s: %v", machine, !want)
		}
	}
	h := newHarness(t)
	h.where.GCPMachineType = "c3-standard-4"
	if err := platformtest.NewCall(h, "CheckOutputDisk").Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), "SCSI") {
		t.Errorf("%v", err)
	}
	if err := platformtest.NewCall(h, "Check").Do(t.Context(), h.Open(t)); err != nil {
		t.Errorf("a CE without an output disk: %v", err)
	}
	h.where.GCPMachineType = "e2-none"
	if err := platformtest.NewCall(h, "Check").Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), "no machine type e2-none") {
		t.Errorf("%v", err)
	}
	h.where.GCPMachineType, h.where.GCPZone, h.where.GCPZones = "", "lab-north1-z", ""
	if err := platformtest.NewCall(h, "Check").Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), "Unknown zone") {
		t.Errorf("%v", err)
	}
}
