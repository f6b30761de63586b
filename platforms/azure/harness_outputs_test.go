package azure_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lab "imageport/lab/azure"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func (h *anyHarness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("Disk-%d", n), SizeBytes: 1 << 30}
}

func (h *anyHarness) OtherDisks() []platforms.OutputDisk {
	odd, large := h.OutputDisk(20), h.OutputDisk(21)
	odd.SizeBytes += 1 << 20
	large.SizeBytes *= 3
	return append(platformtest.EveryKind(h.OutputDisk), odd, large)
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
		if r.Kind == "disk" && !h.planted.Has(r.Name) && (r.Group == lab.OutputGroup || r.Tags["imageport-output"] != "") {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (h *anyHarness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	h.planted.Add(name)
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
	platformtest.WriteFile(t, h.file(t, disk.Ref), at, b)
}

func (h *harness) ReadDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	t.Helper()
	return h.ReadOutput(t, disk.Ref, at, n)
}

func (h *harness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	t.Helper()
	return platformtest.ReadFile(t, h.file(t, name), at, n)
}
