package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/appliance/export"
	"imageport/job"
	"imageport/lab"
	labazure "imageport/lab/azure"
	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/azure"
	"imageport/platforms/gcp"
	"imageport/platforms/qemu"
	"imageport/platforms/vsphere"
	"imageport/platforms/xenserver"
	"imageport/testkit/cevm"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
	"imageport/worker"
)

// place is one platform, as requests and a worker know it.
type place struct {
	target job.Target
	open   platforms.Opener // nil: the worker's own
	// disk is what a request calls an output disk, and file where that is; nil on
	// platforms whose output is tested elsewhere.
	disk string
	file func() string
}

// One worker serves all platforms. On each, the same vDisk is converted to the
// same bytes, and one with a version becomes the same disk.
func TestEveryPlatform(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, site.Options{Image: winimage.Small()})
	inAzure, _ := r.azure()
	inGCP, _ := r.gcp()
	places := []place{
		{target: job.Target{Platform: job.PlatformLocal}, disk: "out.raw", file: func() string { return r.output("out.raw") }},
		{target: job.Target{Platform: job.PlatformQEMU}},
		r.simulated(lab.StartVSphere, "[LocalDS_0] images/out.vmdk"),
		r.simulated(lab.StartXenServer, "win10 out"),
		inAzure,
		inGCP,
	}
	r.serve(places, func(cfg *worker.Config) {
		cfg.QEMU = qemu.Config{Image: cevm.Appliance(t).Raw, StateDir: filepath.Join(r.Dir, "qemu"), Accel: "tcg"}
	})
	var first job.Result
	for _, p := range places {
		res := r.completed(r.start(r.body(p.put(func(b map[string]any) { b["overwriteOutput"] = true }))), 4*time.Minute)
		if first.SHA256 == "" {
			first = res
		}
		// An emulated machine may be out of reach for longer than it may, where
		// everything else runs, too: then there are two of them.
		lost := res.CompositingEngines != 1 && p.target.Platform != job.PlatformQEMU
		if res.SHA256 != first.SHA256 || r.sha256(res.OutputFile) != first.SHA256 || lost {
			t.Errorf("%s gives %s on %d Compositing Engines; %s gives %s", p.target.Platform, res.SHA256, res.CompositingEngines, places[0].target.Platform, first.SHA256)
		}
	}

	child := r.completed(r.start(r.body(func(b map[string]any) {
		delete(b, "outputImageFilename")
		b["pvsVersion"] = "next"
	})), 2*time.Minute)
	before := r.files()
	expected := filepath.Join(r.Dir, "expected.raw")
	if err := r.Flatten(t.Context(), child, expected); err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if p.disk == "" {
			continue
		}
		res := r.completed(r.startOp(job.OpReverseImage, r.reverse(p.put(func(b map[string]any) {
			b["inputImageFilename"], b["outputDiskName"] = child.OutputFile, p.disk
			b["fixups"] = job.FixUpsNone
		}))), 4*time.Minute)
		if res.SizeBytes%job.DiskUnit(p.target.Platform) != 0 || res.SizeBytes < res.VirtualSizeBytes {
			t.Errorf("%s: the result is %+v", p.target.Platform, res)
		}
		r.sameBytes(expected, p.file())
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
}

// put places a request on the platform.
func (p place) put(change func(map[string]any)) func(map[string]any) {
	return func(b map[string]any) {
		text, err := json.Marshal(p.target)
		if err == nil {
			err = json.Unmarshal(text, &b) // over what is there
		}
		if err != nil {
			panic(err) // it is a struct of texts
		}
		change(b)
	}
}

// serve runs a worker for the places.
func (r rig) serve(places []place, change func(*worker.Config)) {
	r.t.Helper()
	r.startInside(func(cfg *worker.Config) {
		cfg.Gateway.Address = r.Gateway()
		cfg.AgentProgram, cfg.OutputDir = r.Program, r.Outputs()
		cfg.Platforms = platforms.Registry{}
		for _, p := range places {
			if p.open != nil {
				cfg.Platforms[p.target.Platform] = p.open
			}
		}
		change(cfg)
	})
}

// simulated is a platform of the lab.
func (r rig) simulated(start func(context.Context, lab.Config) (*lab.Lab, error), disk string) place {
	r.t.Helper()
	l, err := start(r.t.Context(), lab.Config{Dir: r.dir(disk), AgentProgram: r.Program})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			r.t.Error(err)
		}
	})
	p := place{target: l.Target("platform"), disk: disk}
	p.file = func() string {
		file, ok := l.DiskFile(disk)
		if !ok {
			r.t.Fatalf("%s has no disk %q", p.target.Platform, disk)
		}
		if filepath.Ext(file) == ".vmdk" {
			return r.rawOf(file)
		}
		return file
	}
	login := func(context.Context, string) (username, password string, err error) {
		return l.Username(), l.Password(), nil
	}
	switch p.target.Platform {
	case job.PlatformVSphere:
		v, err := vsphere.New(vsphere.Config{Credential: login, Appliance: l.Appliance})
		if err != nil {
			r.t.Fatal(err)
		}
		r.closing(v.Close)
		p.open = v.Open
	default:
		x, err := xenserver.New(xenserver.Config{Credential: login, Appliance: l.Appliance})
		if err != nil {
			r.t.Fatal(err)
		}
		r.closing(x.Close)
		p.open = x.Open
	}
	return p
}

// azure is a simulated subscription.
func (r rig) azure() (place, *labazure.Cloud) {
	r.t.Helper()
	const disk = "win10-out"
	var cloud *labazure.Cloud
	guests := r.guests("azure", func(vm string) { cloud.GuestEnded(vm) })
	cloud, err := labazure.Start(labazure.Config{Dir: r.dir("azure disks"), Guests: guests})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cloud.Close)
	p, err := azure.New(azure.Config{
		Credential: func(context.Context, string) (azure.Credential, error) {
			return azure.Credential{TenantID: labazure.TenantID, ClientID: labazure.ClientID, Secret: cloud.Secret()}, nil
		},
		Appliance:    r.standIn("ce.vhd", export.VHD),
		Gallery:      "/subscriptions/" + labazure.SubscriptionID + "/resourceGroups/" + labazure.GalleryGroup + "/providers/Microsoft.Compute/galleries/" + labazure.Gallery,
		Transport:    cloud,
		PollInterval: 50 * time.Millisecond,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.closing(p.Close)
	return place{target: cloud.Target("platform"), open: p.Open, disk: disk, file: func() string {
		for _, x := range cloud.Resources() {
			if x.Kind == "disk" && x.Name == disk && x.Group == labazure.OutputGroup {
				return x.File
			}
		}
		r.t.Fatalf("Azure has %+v", cloud.Resources())
		return ""
	}}, cloud
}

// gcp is a simulated project.
func (r rig) gcp() (place, *gce.Cloud) {
	r.t.Helper()
	const disk = "win10-out"
	var cloud *gce.Cloud
	guests := r.guests("gcp", func(vm string) { cloud.GuestEnded(vm) })
	cloud, err := gce.Start(gce.Config{Dir: r.dir("gcp disks"), Guests: guests})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cloud.Close)
	p, err := gcp.New(gcp.Config{
		Credential: func(context.Context, string) (gcp.Credential, error) {
			return gcp.Credential{KeyJSON: cloud.KeyJSON()}, nil
		},
		Appliance: r.standIn("ce.tar.gz", export.GCP), Bucket: cloud.Bucket(),
		Endpoint: cloud.URL(), PollInterval: 50 * time.Millisecond,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.closing(p.Close)
	target := job.Target{Platform: job.PlatformGCP, PlatformCredentialID: "platform"}
	target.GCPProject, target.GCPZone = cloud.Project(), cloud.Zones()[0]
	target.GCPZones = job.Names(strings.Join(cloud.Zones(), ","))
	target.VPCNetworkName, target.VPCNetworkSubnetName = "default", "default"
	return place{target: target, open: p.Open, disk: disk, file: func() string { return cloud.DiskFile(target.GCPZone, disk) }}, cloud
}

// guests are processes of this machine.
func (r rig) guests(name string, ended func(vm string)) *lab.Processes {
	r.t.Helper()
	g, err := lab.NewProcesses(lab.ProcessesConfig{Dir: r.dir(name), Program: r.Program, Args: []string{"agent", "--seed"}, Ended: ended})
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// standIn is an appliance that only takes its place.
func (r rig) standIn(name string, format export.Format) string {
	r.t.Helper()
	path := filepath.Join(r.Dir, name)
	if err := lab.StandIn(r.t.Context(), path, format); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r rig) dir(name string) string {
	r.t.Helper()
	dir := filepath.Join(r.Dir, "platforms", strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(name)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

func (r rig) closing(c func(context.Context) error) {
	r.t.Cleanup(func() {
		if err := c(context.Background()); err != nil {
			r.t.Error(err)
		}
	})
}
