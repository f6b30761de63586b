package xenserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

func (h *harness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("%sdisk %d", h.outputs, n), SizeBytes: 64 << 20}
}

func (h *harness) OtherDisks() []platforms.OutputDisk { return platformtest.EveryKind(h.OutputDisk) }

func (h *harness) BadDiskNames() []string {
	return []string{"", " x", "x ", "a\nb", "a\x00b", "a\u200bb", "\xff", strings.Repeat("ü", 201)}
}

// outputVDIs gives the VDIs in the place of output disks that were not planted.
func (h *harness) outputVDIs(t testing.TB) []*vdi {
	t.Helper()
	var all []*vdi
	for ref, v := range h.allVDIs(t) {
		if strings.HasPrefix(v.Name, h.outputs) && !h.planted.Has(string(ref)) {
			all = append(all, v)
		}
	}
	return all
}

func (h *harness) Outputs(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, v := range h.outputVDIs(t) {
		name := v.Name
		if v.Marks[keyKept] == "" {
			name += " (not kept)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (h *harness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	sr, err := h.eye.repository(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ref, err := h.eye.createVDI(context.Background(), sr, name, 1<<20, marks{"mine": "yes"})
	if err != nil {
		t.Fatal(err)
	}
	h.planted.Add(string(ref))
	return func() bool {
		v := h.allVDIs(t)[ref]
		return v != nil && v.Name == name && len(v.Marks) == 1
	}
}

func (h *harness) RemoveOutput(t testing.TB, name string) {
	t.Helper()
	for _, v := range h.outputVDIs(t) {
		if v.Name == name {
			h.admin(t, "VDI.destroy", nil, v.ref)
		}
	}
}

func (h *harness) Attached(t testing.TB, ce string) int {
	t.Helper()
	n := 0
	for _, b := range h.disks(t, ce) {
		if b.Attached && b.Device != systemDevice {
			n++
		}
	}
	return n
}

func (h *harness) disks(t testing.TB, ce string) []vbd {
	t.Helper()
	all, err := h.eye.vbds(context.Background(), h.ceVM(t, ce).VBDs)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// file gives the file with the bytes of a VDI.
func (h *simHarness) file(t testing.TB, ref xapi.Ref) string {
	t.Helper()
	for _, v := range h.lab.VDIs() {
		if v.Ref == string(ref) {
			return v.File
		}
	}
	t.Fatalf("there is no VDI %s", ref)
	return ""
}

// attachedFile gives the file of the disk that a guest finds by the selector.
func (h *simHarness) attachedFile(t testing.TB, ce string, disk platforms.OutputDiskRef) string {
	t.Helper()
	for _, b := range h.disks(t, ce) {
		device, err := strconv.Atoi(b.Device)
		if err == nil && b.Attached && disk.Selector == platforms.ByXen(51712+16*uint64(device)) {
			return h.file(t, b.VDI)
		}
	}
	t.Fatalf("%s has no disk that %s selects", ce, disk.Selector)
	return ""
}

func (h *simHarness) WriteDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, b []byte) {
	t.Helper()
	platformtest.WriteFile(t, h.attachedFile(t, ce, disk), at, b)
}

func (h *simHarness) ReadDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	t.Helper()
	return platformtest.ReadFile(t, h.attachedFile(t, ce, disk), at, n)
}

func (h *simHarness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	t.Helper()
	for _, v := range h.outputVDIs(t) {
		if v.Name == name {
			return platformtest.ReadFile(t, h.file(t, v.ref), at, n)
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}
