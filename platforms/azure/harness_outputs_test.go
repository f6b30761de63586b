package azure_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/job"
	lab "imageport/lab/azure"
	"imageport/platforms"
)

func (h *anyHarness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("Disk-%d", n), SizeBytes: 1 << 30}
}

func (h *anyHarness) OtherDisks() []platforms.OutputDisk { return otherDisks(h.OutputDisk) }

func otherDisks(disk func(int) platforms.OutputDisk) []platforms.OutputDisk {
	var all []platforms.OutputDisk
	for i, change := range []func(*platforms.OutputDisk){
		func(o *platforms.OutputDisk) { o.Format = platforms.VHDX },
		func(o *platforms.OutputDisk) { o.Format = platforms.Raw },
		func(o *platforms.OutputDisk) { o.Provision = job.ProvisionThin },
		func(o *platforms.OutputDisk) { o.Provision = job.ProvisionThick },
		func(o *platforms.OutputDisk) { o.Provision = job.ProvisionEagerZeroed },
		func(o *platforms.OutputDisk) { o.SizeBytes += 1 << 20 },
		func(o *platforms.OutputDisk) { o.SizeBytes *= 3 },
	} {
		o := disk(10 + i)
		change(&o)
		all = append(all, o)
	}
	return all
}

func (h *anyHarness) BadDiskNames() []string {
	return []string{
		"/x", "a/b", "../x", "a b", ".x", "-x", "_x", "x.", "x-", strings.Repeat("x", 81), "grün", "a\nb", "ce-0123456789ab", "CE-0123456789AB-out-1", "[ds] x.vmdk",
	}
}

// isOutput reports whether it is a complete output disk.
func (h *anyHarness) isOutput(r lab.Resource) bool {
	return r.Kind == "disk" && r.Group == lab.OutputGroup && r.State == "Succeeded" && r.Tags["imageport-kept-from"] != ""
}

func (h *anyHarness) Outputs(testing.TB) []string {
	h.world.Wait()
	var names []string
	for _, r := range h.world.Resources() {
		if r.Kind == "disk" && !h.isPlanted(r.Name) && (r.Group == lab.OutputGroup || r.Tags["imageport-output"] != "") {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (h *anyHarness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	h.plant(name)
	if err := h.world.AddDisk(lab.OutputGroup, name, 1<<30); err != nil {
		t.Fatal(err)
	}
	return h.intact("disk", name)
}

func (h *anyHarness) RemoveOutput(_ testing.TB, name string) { h.world.Remove(lab.OutputGroup, name) }

func (h *anyHarness) Attached(_ testing.TB, ce string) int {
	n := 0
	for _, r := range h.world.Resources() {
		if r.Kind == "disk" && r.AttachedTo == ce && r.Tags["imageport-output"] != "" {
			n++
		}
	}
	return n
}

// file gives the file of the disk with that name or id.
func (h *harness) file(t testing.TB, disk string) string {
	t.Helper()
	r, ok := h.resource("disk", filepath.Base(disk))
	if !ok {
		t.Fatalf("there is no disk %s", disk)
	}
	return r.File
}

func (h *harness) WriteDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(h.file(t, disk.Ref), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) ReadDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	return h.ReadOutput(t, disk.Ref, at, n)
}

func (h *harness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(h.file(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return b
}
