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

	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/vsphere"
	"imageport/testkit/disktest"
)

const ce = "ce-0123456789ab"

// newLab starts a lab whose agent is the test binary, and opens the platform's
// driver for it.
func newLab(t *testing.T) (*Lab, platforms.Driver) {
	t.Helper()
	l, err := Start(t.Context(), Config{AgentProgram: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := vsphere.New(vsphere.Config{
		Appliance: l.Appliance, MemoryMB: 512, PollInterval: 10 * time.Millisecond,
		Credential: func(_ context.Context, id string) (string, string, error) {
			if id != "lab" {
				return "", "", errors.New("no such credential")
			}
			return l.VCenter.Username(), l.VCenter.Password(), nil
		},
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

func spec() platforms.Spec {
	return platforms.Spec{Name: ce, Job: "job", RunID: "run", Owner: "location", Seed: platformtest.Seed(ce[3:], time.Now().Add(time.Hour))}
}

// A Compositing Engine that the platform's own driver makes runs, gets an output
// disk, and what it writes to it is in the VMDK that is left.
func TestLab(t *testing.T) {
	t.Parallel()
	l, d := newLab(t)
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
	o := platforms.OutputDisk{Name: "[LocalDS_0] images/x.vmdk", SizeBytes: 64 << 20}
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
	raw := filepath.Join(t.TempDir(), "x.raw")
	disktest.Run(t, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", filepath.Join(l.Datastore(), "images/x.vmdk"), raw)
	b, err := os.ReadFile(raw)
	if err != nil || int64(len(b)) != o.SizeBytes || !strings.HasPrefix(string(b[1<<20:]), "a process") {
		t.Errorf("the disk has %d bytes, or not those of the agent: %v", len(b), err)
	}
}

// The platform is told of a guest that ends, and a lab that closes ends all.
func TestLabEnds(t *testing.T) {
	t.Parallel()
	l, d := newLab(t)
	if _, err := d.Create(t.Context(), spec()); err != nil {
		t.Fatal(err)
	}
	h := &host{dir: l.Guests()}
	said(t, h, ce, "up, with the child")
	p := &Processes{host: h}
	first := p.child(t, ce)
	g, _ := l.guests.(*Processes).guest(ce)
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

// The stand-in is an OVA for others, too, and always the same.
func TestStandIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files [][]byte
	for _, name := range []string{"a.ova", "b.ova"} {
		path := filepath.Join(dir, name)
		if err := StandIn(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("two differ")
	}
	if out, err := exec.Command("tar", "-C", dir, "-xf", filepath.Join(dir, "a.ova")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	disktest.Run(t, "qemu-img", "check", "-f", "vmdk", filepath.Join(dir, "imageport-ce-disk1.vmdk"))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for what, cfg := range map[string]Config{
		"no-such-program": {AgentProgram: "no-such-program"},
		"/no/such.ova":    {Appliance: "/no/such.ova"},
		"listen":          {AgentProgram: os.Args[0], Listen: "256.0.0.1:0"},
	} {
		cfg.Dir = filepath.Join(t.TempDir(), "lab")
		if l, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v, %v", what, l, err)
		}
	}
}
