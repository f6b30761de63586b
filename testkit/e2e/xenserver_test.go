package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/ovmf"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// disk is the file of an output disk in the lab.
func (r rig) disk(name string) string {
	r.t.Helper()
	file, ok := r.Lab.DiskFile(name)
	if !ok {
		r.t.Fatalf("there is no disk %q", name)
	}
	return file
}

// Both operations on a simulated XenServer: the versions of a vDisk become a disk
// to the bit, and one that starts. A job that loses its CE goes on with the disk;
// one that is terminated leaves it, until a sweep.
func TestXenServer(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, site.Options{Image: winimage.Small(), XenServer: true})
	r.startWorker()
	child := r.completed(r.start(r.body(func(b map[string]any) {
		delete(b, "outputImageFilename")
		b["pvsVersion"] = "next"
	})), 2*time.Minute)
	before := r.files()
	expected := filepath.Join(r.Dir, "expected.raw")
	if err := r.Flatten(t.Context(), child, expected); err != nil {
		t.Fatal(err)
	}

	r.completed(r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"], b["outputDiskName"], b["fixups"] = child.OutputFile, "exact", "none"
	})), 2*time.Minute)
	r.sameBytes(expected, r.disk("exact"))

	res := r.completed(r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"], b["outputDiskName"] = child.OutputFile, "golden image"
	})), 2*time.Minute)
	// The image has none of XenServer's drivers.
	if res.Firmware != job.UEFI || len(res.Controllers) == 0 || res.Controllers[0] != job.AHCI || len(res.FixUps) == 0 {
		t.Errorf("the result is %+v", res)
	}
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: r.disk("golden image")})
	if err != nil || !report.Passed {
		t.Errorf("it does not start: %v\n%s", err, report)
	}

	lost, door := r.halfway("lost")
	r.killAgents()
	door.Resume()
	if res := r.completed(lost, 2*time.Minute); res.CompositingEngines != 2 {
		t.Errorf("it took %d Compositing Engines, want 2", res.CompositingEngines)
	}
	report, err = ovmf.Boot(t.Context(), ovmf.Options{Disk: r.disk("lost"), BIOS: true})
	if err != nil || !report.Passed {
		t.Errorf("it does not start: %v\n%s", err, report)
	}

	const kept = 4 // the appliance, and three outputs
	if left := r.outputs(); len(left) != kept {
		t.Errorf("the storage repository has %q", left)
	}
	id, _ := r.halfway("terminated")
	if err := r.Temporal.Client().TerminateWorkflow(t.Context(), id, "", "nobody cleans up"); err != nil {
		t.Fatal(err)
	}
	if len(r.agents()) == 0 || len(r.outputs()) != kept+2 { // its own system disk, too
		t.Fatalf("agents %v, disks %q: nothing was left to sweep", r.agents(), r.outputs())
	}
	r.run("sweep", "--min-age", "0s", "--settle", "1s", "--resource-location", r.ResourceLocation)
	if left := r.outputs(); len(left) != kept {
		t.Errorf("the storage repository has %q", left)
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
}
