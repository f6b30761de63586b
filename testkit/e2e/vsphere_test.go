package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/durable"
	"imageport/testkit/ovmf"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// vmdk gives the disk in a VMDK of the datastore, as QEMU reads it.
func (r rig) vmdk(name string) string {
	r.t.Helper()
	return r.rawOf(r.output(name))
}

// rawOf gives the disk in a VMDK, as QEMU reads it.
func (r rig) rawOf(vmdk string) string {
	r.t.Helper()
	raw := filepath.Join(r.t.TempDir(), "disk.raw")
	if out, err := exec.Command("qemu-img", "convert", "-f", "vmdk", "-O", "raw", vmdk, raw).CombinedOutput(); err != nil {
		r.t.Fatalf("qemu-img: %v: %s", err, out)
	}
	return raw
}

// images are the files in the folders of the datastore that jobs were told of.
func (r rig) images() []string {
	r.t.Helper()
	return slices.DeleteFunc(r.outputs(), func(path string) bool { return !strings.Contains(path, "/images/") })
}

// halfway starts a reverseImage job, and gives the door to the share at which it
// waits when half of the copy is done.
func (r rig) halfway(disk string) (id string, door *proxy.Proxy) {
	r.t.Helper()
	door = proxy.New(r.t, r.Samba.Addr())
	door.StallAfter(proxy.Down, 24<<20)
	id = r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["outputDiskName"] = disk
		b["inputStorageLocation"].(map[string]any)["port"] = door.Port()
	}))
	r.until("the copy is half done", door.Stalled)
	return id, door
}

// Both operations on a simulated vSphere: the versions of a vDisk, which one job
// makes, become a VMDK to the bit, and one that starts, with a VM around it.
func TestVSphere(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, site.Options{Image: winimage.Small(), VSphere: true})
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
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: expected})
	if err != nil || !report.Passed {
		t.Errorf("what convertToUefi made does not start: %v\n%s", err, report)
	}

	r.completed(r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"], b["outputDiskName"] = child.OutputFile, "[LocalDS_0] images/exact.vmdk"
		b["fixups"] = "none"
	})), 2*time.Minute)
	r.sameBytes(expected, r.vmdk("images/exact.vmdk"))

	id := r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"], b["outputDiskName"] = child.OutputFile, "[LocalDS_0] images/starts.vmdk"
		b["createVm"], b["vmName"] = true, "golden"
	}))
	res := r.completed(id, 2*time.Minute)
	r.record("reversedWithVM", id)
	if res.Firmware != job.UEFI || len(res.Controllers) == 0 || res.Controllers[0] != job.PVSCSI || len(res.FixUps) == 0 || res.VM == "" {
		t.Errorf("the result is %+v", res)
	}
	report, err = ovmf.Boot(t.Context(), ovmf.Options{Disk: r.output("images/starts.vmdk"), Format: "vmdk"})
	if err != nil || !report.Passed {
		t.Errorf("it does not start: %v\n%s", err, report)
	}
	if left := r.images(); len(left) != 4 { // two descriptors and their extents
		t.Errorf("the datastore has %q", left)
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
}

// A job that loses its CE goes on with the disk; one that is terminated leaves it,
// until a sweep.
func TestVSphereSweep(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, site.Options{Image: winimage.Small(), VSphere: true})
	r.startWorker()
	lost, door := r.halfway("[LocalDS_0] images/lost.vmdk")
	r.until("there is a disk", func() bool { return len(r.images()) > 0 })
	r.killAgents()
	door.Resume()
	res := r.completed(lost, 2*time.Minute)
	r.record("reverseRecovered", lost)
	if res.CompositingEngines != 2 {
		t.Errorf("it took %d Compositing Engines, want 2", res.CompositingEngines)
	}
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: r.output("images/lost.vmdk"), Format: "vmdk", BIOS: true})
	if err != nil || !report.Passed {
		t.Errorf("it does not start: %v\n%s", err, report)
	}

	id, _ := r.halfway("[LocalDS_0] images/terminated.vmdk")
	if err := r.Temporal.Client().TerminateWorkflow(t.Context(), id, "", "nobody cleans up"); err != nil {
		t.Fatal(err)
	}
	if len(r.agents()) == 0 || len(r.images()) <= 2 {
		t.Fatalf("agents %v, disks %q: nothing was left to sweep", r.agents(), r.images())
	}
	r.run("sweep", "--dry-run", "--min-age", "0s", "--settle", "1s", "--resource-location", r.ResourceLocation)
	if len(r.agents()) == 0 {
		t.Error("a dry run removed the CE")
	}
	r.run("sweep", "--min-age", "0s", "--settle", "1s", "--resource-location", r.ResourceLocation)
	r.record("swept", durable.SweepNow(r.ResourceLocation))
	if left := r.images(); len(left) != 2 {
		t.Errorf("the datastore has %q", left)
	}
	r.noCE()
}
