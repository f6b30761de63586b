package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/appliance/export"
	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/vsphere"
	"imageport/platforms/xenserver"
	"imageport/testkit/disktest"
)

const ce = "ce-0123456789ab"

// platformOf is a platform's own side: what its driver is made of.
type platformOf interface {
	Open(ctx context.Context, target job.Target) (platforms.Driver, error)
	Close(ctx context.Context) error
}

// newLab starts a lab whose agent is the test binary, and opens the platform's
// driver for it.
func newLab(t *testing.T, start func(context.Context, Config) (*Lab, error), side func(l *Lab, credential func(context.Context, string) (string, string, error)) (platformOf, error)) (*Lab, platforms.Driver) {
	t.Helper()
	l, err := start(t.Context(), Config{AgentProgram: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := side(l, func(_ context.Context, id string) (string, string, error) {
		if id != "lab" {
			return "", "", errors.New("no such credential")
		}
		return l.Username(), l.Password(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) }) // the lab may be closed
	d, err := p.Open(t.Context(), l.Target("lab"))
	if err != nil {
		t.Fatal(err)
	}
	return l, d
}

func newVSphere(t *testing.T) (*Lab, platforms.Driver) {
	return newLab(t, StartVSphere, func(l *Lab, credential func(context.Context, string) (string, string, error)) (platformOf, error) {
		return vsphere.New(vsphere.Config{Appliance: l.Appliance, MemoryMB: 512, PollInterval: 10 * time.Millisecond, Credential: credential})
	})
}

func newXenServer(t *testing.T) (*Lab, platforms.Driver) {
	return newLab(t, StartXenServer, func(l *Lab, credential func(context.Context, string) (string, string, error)) (platformOf, error) {
		return xenserver.New(xenserver.Config{Appliance: l.Appliance, MemoryMB: 512, PollInterval: 10 * time.Millisecond, Credential: credential})
	})
}

func spec() platforms.Spec {
	return platforms.Spec{Name: ce, Job: "job", RunID: "run", Owner: "location", Seed: platformtest.Seed(ce[3:], time.Now().Add(time.Hour))}
}

// A Compositing Engine that the platform's own driver makes runs, gets an output
// disk, and what it writes to it is in the file that is left.
func TestLab(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		start  func(*testing.T) (*Lab, platforms.Driver)
		disk   string
		format string   // of its file, as qemu-img calls it
		others []string // names of no disk
	}{
		"vSphere": {newVSphere, "[LocalDS_0] images/x.vmdk", "vmdk", []string{
			"[LocalDS_0] images/y.vmdk", "[LocalDS_1] images/x.vmdk", "[LocalDS_0] ../LocalDS_0/images/x.vmdk", "images/x.vmdk", "",
		}},
		"XenServer": {newXenServer, "win10 of today", "raw", []string{"win10", "WIN10 of today", ce, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, d := of.start(t)
			makesDisk(t, l, d, of.disk)
			file, ok := l.DiskFile(of.disk)
			if !ok || filepath.Dir(file) != l.Storage() && filepath.Dir(filepath.Dir(file)) != l.Storage() {
				t.Fatalf("the disk's file is %q, %v", file, ok)
			}
			for _, other := range of.others {
				if file, ok := l.DiskFile(other); ok {
					t.Errorf("%q is the disk %s", other, file)
				}
			}
			raw := filepath.Join(t.TempDir(), "x.raw")
			disktest.Run(t, "qemu-img", "convert", "-f", of.format, "-O", "raw", file, raw)
			b, err := os.ReadFile(raw)
			if err != nil || int64(len(b)) != diskBytes || !strings.HasPrefix(string(b[1<<20:]), "a process") {
				t.Errorf("the disk has %d bytes, or not those of the agent: %v", len(b), err)
			}
		})
	}
}

const diskBytes = 64 << 20

// makesDisk leaves a disk that a CE has written to.
func makesDisk(t *testing.T, l *Lab, d platforms.Driver, name string) {
	t.Helper()
	ctx := t.Context()
	if err := d.Check(ctx, spec()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(ctx, spec()); err != nil {
		t.Fatal(err)
	}
	h := &host{dir: l.Guests()}
	said(t, h, ce, "up, with the child")
	disks := d.(platforms.OutputDisks)
	o := platforms.OutputDisk{Name: name, SizeBytes: diskBytes}
	ref, err := disks.AddOutputDisk(ctx, ce, o)
	if err != nil {
		t.Fatal(err)
	}
	said(t, h, ce, "disk "+ref.Selector)

	// A CE that is started again has its disk again.
	if err := d.Stop(ctx, ce); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(l.Guests()); err != nil || len(entries) != 1 {
		t.Errorf("a CE that is off has a guest: %v, %v", entries, err)
	}
	if err := os.Remove(h.logFile(ce)); err != nil {
		t.Error(err)
	}
	if _, err := d.Create(ctx, spec()); err != nil {
		t.Fatal(err)
	}
	said(t, h, ce, "disk "+ref.Selector)

	if err := disks.KeepOutputDisk(ctx, ce, o.Name); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(ctx, ce); err != nil {
		t.Fatal(err)
	}
}

// The platform is told of a guest that ends, and a lab that closes ends all.
func TestLabEnds(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (*Lab, platforms.Driver){"vSphere": newVSphere, "XenServer": newXenServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, d := start(t)
			ends(t, l, d)
		})
	}
}

func ends(t *testing.T, l *Lab, d platforms.Driver) {
	t.Helper()
	if _, err := d.Create(t.Context(), spec()); err != nil {
		t.Fatal(err)
	}
	h := &host{dir: l.Guests()}
	said(t, h, ce, "up, with the child")
	p := &Processes{host: h}
	first := p.child(t, ce)
	g, _ := l.guests.(*Processes).runs(ce)
	if err := g.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "stopped", func() bool {
		in, err := d.Find(t.Context(), ce)
		return err == nil && in.State == platforms.Stopped
	}, func() string { return "" })
	over(t, first)
	if _, err := d.Create(t.Context(), spec()); err != nil {
		t.Fatal(err)
	}
	var second int
	await(t, "up again", func() bool { second = p.child(t, ce); return second != first }, func() string { return "" })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	over(t, second)
	if _, err := os.Stat(l.dir); err == nil {
		t.Error("its files are left")
	}
}

// The stand-in is an OVA or a disk for others, too, and always the same.
func TestStandIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, format := range []export.Format{export.OVA, export.Raw} {
		var files [][]byte
		for _, name := range []string{"a.", "b."} {
			path := filepath.Join(dir, name+string(format))
			if err := StandIn(t.Context(), path, format); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, b)
		}
		if !slices.Equal(files[0], files[1]) {
			t.Errorf("two %s differ", format)
		}
	}
	if out, err := exec.Command("tar", "-C", dir, "-xf", filepath.Join(dir, "a.ova")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	disktest.Run(t, "qemu-img", "check", "-f", "vmdk", filepath.Join(dir, "imageport-ce-disk1.vmdk"))
	disktest.Run(t, "sgdisk", "--verify", filepath.Join(dir, "a.raw"))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	type starter func(context.Context, Config) (*Lab, error)
	for _, of := range []struct {
		start starter
		cfg   Config
		says  string
	}{
		{StartVSphere, Config{AgentProgram: "no-such-program"}, "no-such-program"},
		{StartVSphere, Config{Appliance: "/no/such.ova"}, "/no/such.ova"},
		{StartVSphere, Config{AgentProgram: os.Args[0], Listen: "256.0.0.1:0"}, "listen"},
		{StartXenServer, Config{AgentProgram: "no-such-program"}, "no-such-program"},
		{StartXenServer, Config{Appliance: "/such.raw"}, "no Xen devices"},
		{StartXenServer, Config{AgentProgram: os.Args[0], Listen: "256.0.0.1:0"}, "listen"},
	} {
		of.cfg.Dir = filepath.Join(t.TempDir(), "lab")
		if l, err := of.start(t.Context(), of.cfg); err == nil || !strings.Contains(err.Error(), of.says) {
			t.Errorf("%s: got %v, %v", of.says, l, err)
		}
	}
}
