package vsphere

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func (h *harness) OutputDisk(n int) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("[%s] %s/disk-%d.vmdk", h.where.Datastore, h.images, n), SizeBytes: 64 << 20}
}

func (h *harness) OtherDisks() []platforms.OutputDisk { return platformtest.EveryKind(h.OutputDisk) }

func (h *harness) BadDiskNames() []string {
	names := []string{"images/x.vmdk", "ds://x.vmdk", "ds:///vmfs/volumes/" + h.where.Datastore}
	for _, p := range []string{
		"", "../x.vmdk", "images/../x.vmdk", "/images/x.vmdk", "images//x.vmdk", "images/x.vhdx", "images/", "images/.vmdk", "images/.x.vmdk",
		"images/x-flat.vmdk", "images/*.vmdk", "images/" + strings.Repeat("x", 300) + ".vmdk", "a\nb.vmdk",
	} {
		names = append(names, fmt.Sprintf("[%s] %s", h.where.Datastore, p))
	}
	return names
}

// outputFiles gives the files in the place of output disks: disks by the names
// of their descriptors, and what is no part of one by its own.
func (h *harness) outputFiles(t testing.TB) []string {
	t.Helper()
	all := make(map[string]bool)
	for _, f := range h.files(t) {
		if strings.HasPrefix(f, h.images+"/") {
			all[f] = true
		}
	}
	for f := range maps.Clone(all) {
		if base, ok := strings.CutSuffix(f, "-flat.vmdk"); ok && all[base+".vmdk"] {
			delete(all, f)
		}
	}
	var names []string
	for f := range all {
		if name, ok := strings.CutSuffix(f, "-flat.vmdk"); ok && h.planted.Has(fmt.Sprintf("[%s] %s.vmdk", h.where.Datastore, name)) {
			continue
		}
		if name := fmt.Sprintf("[%s] %s", h.where.Datastore, f); !h.planted.Has(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (h *harness) Outputs(t testing.TB) []string { return h.outputFiles(t) }

func (h *harness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	h.planted.Add(name)
	d := h.eye()
	s := d.known.Load()
	n, err := s.parseDiskName(name)
	if err == nil {
		err = d.makeDirectory(t.Context(), s, n)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) {
		return object.NewVirtualDiskManager(d.client).CreateVirtualDisk(ctx, name, object.NewDatacenter(d.client, s.datacenter.ref), &types.FileBackedVirtualDiskSpec{
			VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(types.VirtualDiskTypeThin), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)},
			CapacityKb:      1024,
		})
	})
	before := h.content(t, name)
	return func() bool { return h.content(t, name) == before }
}

// content gives something by which another disk of that name can be told from it.
func (h *harness) content(t testing.TB, name string) string {
	t.Helper()
	if h.lab != nil {
		b, err := os.ReadFile(h.file(t, name))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	d := h.eye()
	uuid, err := object.NewVirtualDiskManager(d.client).QueryVirtualDiskUuid(context.Background(), name, object.NewDatacenter(d.client, d.known.Load().datacenter.ref))
	return fmt.Sprint(uuid, err)
}

func flatFile(file string) string { return strings.TrimSuffix(file, ".vmdk") + "-flat.vmdk" }

func (h *harness) RemoveOutput(t testing.TB, name string) {
	t.Helper()
	d := h.eye()
	if err := d.deleteDisk(context.Background(), d.known.Load(), name); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Attached(t testing.TB, name string) int {
	t.Helper()
	n := 0
	for _, d := range h.ceVM(t, name).disks() {
		if strings.HasPrefix(d.file, fmt.Sprintf("[%s] %s/", h.where.Datastore, h.images)) {
			n++
		}
	}
	return n
}

func (h *simHarness) WriteDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, b []byte) {
	platformtest.WriteFile(t, flatFile(h.file(t, disk.Ref)), at, b)
}

func (h *simHarness) ReadDisk(t testing.TB, _ string, disk platforms.OutputDiskRef, at int64, n int) []byte {
	return h.ReadOutput(t, disk.Ref, at, n)
}

func (h *simHarness) ReadOutput(t testing.TB, name string, at int64, n int) []byte {
	return platformtest.ReadFile(t, flatFile(h.file(t, name)), at, n)
}

func (h *harness) OutputVM(n int) platforms.OutputVM {
	return platforms.OutputVM{
		Name: fmt.Sprintf("output-%d", n), Job: "ips/files/pvs/win", Owner: "location", Disk: h.OutputDisk(n).Name,
		Firmware: job.UEFI, Controller: job.PVSCSI, WindowsBuild: 22631,
	}
}

func (h *harness) VMs(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, v := range h.allVMs(t) {
		if !h.planted.Has(v.name) && !v.template && !seed.ValidName(strings.TrimSuffix(v.name, guestSuffix)) {
			names = append(names, v.name)
		}
	}
	slices.Sort(names)
	return names
}

func (h *harness) VMState(t testing.TB, name string) (bool, []string) {
	t.Helper()
	v := h.ceVM(t, name)
	var disks []string
	for _, d := range v.disks() {
		disks = append(disks, d.file)
	}
	return !v.off(), disks
}

func (h *harness) PlantVM(t testing.TB, name string) func() bool {
	t.Helper()
	d := h.Open(t).(*Driver)
	s, err := d.site(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h.plantVM(t, s.outputFolder.ref, name)
}

func (h *harness) RemoveVM(t testing.TB, name string) {
	t.Helper()
	v := h.ceVM(t, name)
	h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) { return v.object(d).Destroy(ctx) })
}
