package gcp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func (h *harness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("%s-disk-%d", h.place, n), SizeBytes: gib}
}

func (h *harness) OtherDisks() []platforms.OutputDisk { return platformtest.EveryKind(h.OutputDisk) }

func (h *harness) BadDiskNames() []string {
	return []string{
		"Disk", "1disk", "disk-", "-disk", "di_sk", "disk.vhd", "[ds] disk.vmdk", "a/b", "zones/lab-north1-a/disks/x", "../x", "a\nb", "a b",
		strings.Repeat("x", 64), "ce-0123456789ab", "ce-0123456789ab-x",
	}
}

// isOutput reports whether a disk is an output, complete or not.
func (h *harness) isOutput(d *computepb.Disk) bool {
	partial := len(d.GetName()) > 15 && seed.ValidName(d.GetName()[:15])
	return (partial || strings.HasPrefix(d.GetName(), h.place+"-")) && !h.planted.Has(d.GetName())
}

func (h *harness) Outputs(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, d := range h.disks(t) {
		if h.isOutput(d) {
			names = append(names, d.GetName())
		}
	}
	slices.Sort(names)
	return names
}

func (h *harness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	h.planted.Add(name)
	zone := h.eye.place.zones[0] // a name is taken in the zone that the CE is in
	if h.cloud != nil {
		if err := h.cloud.MakeDisk(zone, name, gib); err != nil {
			t.Fatal(err)
		}
	} else {
		op, err := h.eye.disks.Insert(t.Context(), &computepb.InsertDiskRequest{
			Project: h.eye.place.project, Zone: zone, DiskResource: &computepb.Disk{Name: proto.String(name), SizeGb: proto.Int64(1), Type: h.eye.diskTypePath(zone)},
		})
		if err := h.eye.inZone(t.Context(), zone, op, err); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.eye.deleteDisk(context.Background(), zone, name); err != nil {
				t.Error(err)
			}
		})
	}
	find := func() *computepb.Disk {
		for _, d := range h.disks(t) {
			if d.GetName() == name {
				return d
			}
		}
		return nil
	}
	before := find()
	return func() bool { return proto.Equal(find(), before) }
}

func (h *harness) RemoveOutput(t testing.TB, name string) {
	t.Helper()
	for _, zone := range h.eye.place.zones {
		if err := h.eye.deleteDisk(context.Background(), zone, name); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *harness) Attached(t testing.TB, name string) int {
	t.Helper()
	return len(h.vm(t, name).GetDisks()) - 1
}

func (h *simHarness) file(t testing.TB, name string) string {
	t.Helper()
	for _, zone := range h.cloud.Zones() {
		if f := h.cloud.DiskFile(zone, lastName(name)); f != "" {
			return f
		}
	}
	t.Fatalf("there is no disk %s", name)
	return ""
}

func (h *simHarness) WriteDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, b []byte) {
	t.Helper()
	platformtest.WriteFile(t, h.file(t, disk.Ref), at, b)
}

func (h *simHarness) ReadDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	t.Helper()
	return h.ReadOutput(t, disk.Ref, at, n)
}

func (h *simHarness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	t.Helper()
	return platformtest.ReadFile(t, h.file(t, name), at, n)
}
