package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/engine/inject"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/pvstarget"
	"imageport/job"
	"imageport/testkit/guestsim"
	"imageport/testkit/ovmf"
	"imageport/testkit/site"
	"imageport/testkit/targetdevice"
)

const (
	oldVersion, newVersion = "7.33.0.100", "7.40.0.50"
	// versioned is the vDisk's second version, on which upgrades are tried.
	versioned = "win10.1.avhdx"
)

// upgradeRig is a site with a vDisk of two versions that has the old software, and
// a catalogue of installers on the same server.
func upgradeRig(t *testing.T, o site.Options) rig {
	t.Helper()
	o.Guest = simulator
	r := newRigWith(t, o)
	r.imageport("disk", "convert", "--raw", "--block-size", "2M", guestsim.TargetImage(t, oldVersion).Path, filepath.Join(r.Store, site.Image))
	r.imageport("disk", "create", filepath.Join(r.Store, versioned), "--parent", filepath.Join(r.Store, site.Image))
	return r
}

// imageport runs our program.
func (r rig) imageport(args ...string) {
	r.t.Helper()
	if out, err := r.Command(r.t.Context(), args...).CombinedOutput(); err != nil {
		r.t.Fatalf("imageport %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// offers puts an installer into the catalogue.
func (r rig) offers(version, file string) {
	r.t.Helper()
	r.imageport("catalogue", "add", file, "--version", version, "--catalogue", r.Catalogue())
}

// upgrade is the specification's request for upgradePvs on this site.
func (r rig) upgrade(change func(map[string]any)) []byte {
	r.t.Helper()
	printed, err := os.ReadFile("../../job/testdata/upgradePvs.json")
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := r.Body(printed, func(b map[string]any) {
		b["inputImageFilename"] = versioned
		delete(b, "outputSizeMb")
		if change != nil {
			change(b)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// look opens an image of the share as anybody would.
func (r rig) look(file string) (pvstarget.Facts, []string) {
	r.t.Helper()
	store, err := share.Dir(r.Store)
	if err != nil {
		r.t.Fatal(err)
	}
	defer store.Close()
	im, err := source.Open(r.t.Context(), source.Input{Store: store, Name: file})
	if err != nil {
		r.t.Fatal(err)
	}
	defer im.Close()
	facts, err := pvstarget.Inspect(r.t.Context(), im.Chain)
	if err != nil {
		r.t.Fatal(err)
	}
	left, err := inject.Traces(r.t.Context(), im.Chain, inject.Partition{Offset: facts.Offset, SizeBytes: facts.SizeBytes})
	if err != nil {
		r.t.Fatal(err)
	}
	return facts, left
}

// The third operation on what the first one made: the UEFI version of a vDisk on
// Samba becomes a new vDisk with the new software, which installed itself; the
// source stays, and there is no trace of how it was done.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	r := upgradeRig(t, site.Options{})
	r.offers("2311", targetdevice.Build(t, newVersion, targetdevice.Works))
	r.startWorker()
	converted := r.completed(r.start(r.body(func(b map[string]any) {
		b["inputImageFilename"] = versioned
		b["outputImageFilename"] = "win10.2"
	})), 2*time.Minute)
	source := func(b map[string]any) { b["inputImageFilename"] = converted.OutputFile }
	before := r.files()

	plan := r.completed(r.startOp(job.OpUpgradePVS, r.upgrade(func(b map[string]any) {
		source(b)
		b["dryRun"] = true
	})), time.Minute)
	if !plan.DryRun || plan.Upgrade.From != oldVersion || plan.Upgrade.To != newVersion || !same(before, r.files()) {
		t.Errorf("the plan is %+v", plan.Upgrade)
	}

	id := r.startOp(job.OpUpgradePVS, r.upgrade(func(b map[string]any) {
		source(b)
		b["verify"] = job.VerifyFull
	}))
	res := r.completed(id, 4*time.Minute)
	r.record("upgraded", id)
	const output = "win10-with-upgraded-pvs.vhdx"
	if res.OutputFile != output || res.Upgrade.From != oldVersion || res.Upgrade.To != newVersion || res.Upgrade.Boots < 2 || res.CompositingEngines != 1 {
		t.Errorf("the result is %+v, %+v", res, res.Upgrade)
	}
	if res.SHA256 != r.sha256(output) {
		t.Errorf("the result says %s, the file has %s", res.SHA256, r.sha256(output))
	}
	facts, left := r.look(output)
	was, _ := r.look(converted.OutputFile)
	if facts.Version != newVersion || facts.Broken != "" || len(facts.PendingReboot) > 0 || len(left) > 0 || len(facts.Services) < len(was.Services) {
		t.Errorf("the output has %+v, and of us %v", facts, left)
	}
	after := r.files()
	delete(after, output)
	if !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
	if left := r.outputs(); len(left) > 0 {
		t.Errorf("disks are left: %v", left)
	}
	if s := r.wait(id, time.Second); s.Guest == nil || !strings.Contains(s.Guest.Log, "succeeded") {
		t.Errorf("the status has of the guest %+v", s.Guest)
	}

	raw := r.decode7z(res)
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "vhdx", raw, filepath.Join(r.Store, output)).CombinedOutput(); err != nil {
		t.Errorf("7zz and qemu-img do not decode the same: %v: %s", err, out)
	}
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: raw})
	if err != nil || !report.Passed {
		t.Errorf("firmware does not get to Windows: %v\n%s", err, report)
	}

	// What has the version needs nothing.
	again := r.completed(r.startOp(job.OpUpgradePVS, r.upgrade(func(b map[string]any) {
		b["inputImageFilename"], b["outputImageFilename"] = output, "again"
	})), time.Minute)
	if !again.Upgrade.Skipped || again.OutputFile != "" || slices.ContainsFunc(keys(r.files()), func(n string) bool { return strings.HasPrefix(n, "again") }) {
		t.Errorf("the result is %+v", again)
	}
}

func keys(m map[string]string) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	return names
}

// What installers and guests do wrong ends with the right code, with nothing left,
// and the source as it was.
func TestUpgradeFailures(t *testing.T) {
	t.Parallel()
	r := upgradeRig(t, site.Options{})
	for _, k := range []targetdevice.Kind{targetdevice.Works, targetdevice.Lies, targetdevice.Hangs, targetdevice.Fails} {
		r.offers(string(k), targetdevice.Build(t, newVersion, k))
	}
	r.offers("old", targetdevice.Build(t, "7.20.0.1", targetdevice.Works))
	r.startWorker()
	before := r.files()
	for _, c := range []struct {
		name, version string
		change        func(map[string]any)
		code          job.Code
		boots         bool // a guest was on
	}{
		{"lies", "lies", nil, job.UpgradeNotVerified, true},
		{"fails", "fails", nil, job.InstallerFailed, true},
		{"hangs", "hangs", func(b map[string]any) {
			b["upgradeOptions"].(map[string]any)["timeoutMinutes"] = 0.4
		}, job.GuestTimeout, true},
		{"downgrade", "old", nil, job.PVSDowngrade, false},
		{"no such version", "1999", nil, job.InstallerNotFound, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := r.startOp(job.OpUpgradePVS, r.upgrade(func(b map[string]any) {
				b["upgradeOptions"].(map[string]any)["installPvs"] = c.version
				if c.change != nil {
					c.change(b)
				}
			}))
			s := r.wait(id, 4*time.Minute)
			if s.State != job.StateFailed || s.Error == nil || s.Error.Code != c.code {
				t.Fatalf("ended as %s with %+v, want %s", s.State, s.Error, c.code)
			}
			if c.name == "fails" {
				r.record("upgradeFailed", id)
			}
			if c.boots != (s.Guest != nil && s.Guest.Log != "") {
				t.Errorf("of the guest there is %+v", s.Guest)
			}
			if after := r.files(); !same(before, after) {
				t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
			}
			r.noCE()
			if left := r.outputs(); len(left) > 0 {
				t.Errorf("disks are left: %v", left)
			}
		})
	}
}

// A cancel while the guest is on switches it off, and leaves nothing.
func TestUpgradeCancelled(t *testing.T) {
	t.Parallel()
	r := upgradeRig(t, site.Options{})
	r.offers("2311", targetdevice.Build(t, newVersion, targetdevice.Hangs))
	r.startWorker()
	before := r.files()
	id := r.startOp(job.OpUpgradePVS, r.upgrade(nil))
	r.within(2*time.Minute, "the guest is on", func() bool {
		s, err := r.Jobs.Get(context.Background(), id)
		return err == nil && s.Phase == job.PhaseBoot && s.Progress != nil && strings.HasPrefix(s.Progress.Step, "guest")
	})
	if err := r.Jobs.Cancel(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	if s := r.wait(id, time.Minute); s.State != job.StateCanceled {
		t.Errorf("ended as %s: %+v", s.State, s.Error)
	}
	r.record("upgradeCanceled", id)
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
	if left := r.outputs(); len(left) > 0 {
		t.Errorf("disks are left: %v", left)
	}
}
