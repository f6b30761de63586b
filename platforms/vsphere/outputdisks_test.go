package vsphere

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func TestDiskNames(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.eye().known.Load()
	if s == nil {
		t.Fatal("no site")
	}
	info := get[types.DatastoreSummary](s.datastore.properties, "summary")
	volume := path.Base(strings.TrimRight(info.Url, "/"))
	for name, want := range map[string]string{
		"[LocalDS_0] images/x.vmdk":                    "[LocalDS_0] images/x.vmdk",
		"[LocalDS_0]images/x.vmdk":                     "[LocalDS_0] images/x.vmdk",
		"[LocalDS_0] x.vmdk":                           "[LocalDS_0] x.vmdk",
		"[LocalDS_0] a/b/win 10 (neu).vmdk":            "[LocalDS_0] a/b/win 10 (neu).vmdk",
		"ds:///vmfs/volumes/" + volume + "/f/x.vmdk":   "[LocalDS_0] f/x.vmdk",
		"ds://vmfs/volumes/" + volume + "/f/x.vmdk":    "[LocalDS_0] f/x.vmdk",
		"ds:///vmfs/volumes/LocalDS_0/images/f/x.vmdk": "[LocalDS_0] images/f/x.vmdk",
		"ds:///vmfs/volumes/5f0c1d2e-aa/images/x.vmdk": "not found",
		"[Datastore1] images/x.vmdk":                   "not found",
	} {
		n, err := s.parseDiskName(name)
		got := string(platforms.KindOf(err))
		if err == nil {
			got = n.String()
		}
		if got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	for _, name := range h.BadDiskNames() {
		if _, err := s.parseDiskName(name); platforms.KindOf(err) != platforms.BadRequest {
			t.Errorf("%q: %v", name, err)
		}
	}
	n, err := s.parseDiskName("[LocalDS_0] images/x.y.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	if got := n.partial("ce-0123456789ab").String(); got != "[LocalDS_0] images/x.y.ce-0123456789ab.partial.vmdk" {
		t.Error(got)
	}
}

func FuzzDiskName(f *testing.F) {
	s := &site{
		datacenter: &entity{path: "/DC0"},
		datastores: []*entity{{name: "ds", path: "/DC0/datastore/ds", properties: properties{"summary": types.DatastoreSummary{Url: "ds:///vmfs/volumes/1-2/"}}}},
	}
	for _, name := range []string{"[ds] a/x.vmdk", "ds:///vmfs/volumes/1-2/a/x.vmdk", "[ds] ../x.vmdk", "[] x.vmdk"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := s.parseDiskName(name)
		if err != nil {
			return
		}
		if again, err := s.parseDiskName(n.String()); err != nil || again != n {
			t.Errorf("%q is %q, which is %q, %v", name, n, again, err)
		}
		if strings.Contains("/"+n.path+"/", "/../") || strings.HasPrefix(n.path, "/") || !strings.HasSuffix(n.path, ".vmdk") {
			t.Errorf("%q is %q", name, n)
		}
	})
}

func TestOutputDiskSpace(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d := h.Open(t).(*Driver)
	s, err := d.site(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	disk := h.OutputDisk(0)
	disk.SizeBytes = 10 << 30
	for what, tc := range map[string]struct {
		free       int64
		provision  job.ProvisionType
		accessible bool
		kind       platforms.Kind
	}{
		"thin":               {1 << 30, job.ProvisionThin, true, ""},
		"thin, nothing free": {1 << 20, job.ProvisionThin, true, platforms.Full},
		"thick":              {11 << 30, job.ProvisionThick, true, ""},
		"thick, too big":     {9 << 30, job.ProvisionThick, true, platforms.Full},
		"eager, too big":     {9 << 30, job.ProvisionEagerZeroed, true, platforms.Full},
		"offline":            {11 << 30, job.ProvisionThin, false, platforms.Busy},
	} {
		disk.Provision = tc.provision
		want, err := s.wantDisk(disk)
		if err != nil {
			t.Fatal(err)
		}
		want.datastore = &entity{name: "ds", properties: properties{"summary": types.DatastoreSummary{Accessible: tc.accessible, FreeSpace: tc.free}}}
		err = want.checkSpace()
		if platforms.KindOf(err) != tc.kind || tc.kind == platforms.Full && (!strings.Contains(err.Error(), "10240 MiB") || !strings.Contains(err.Error(), fmt.Sprint(tc.free>>20))) {
			t.Errorf("%s: %v; want %q", what, err, tc.kind)
		}
	}
	want := wantedDisk{OutputDisk: disk, diskName: diskName{datastore: &entity{name: "ds", properties: properties{
		"summary": types.DatastoreSummary{Accessible: true, FreeSpace: 100 << 30},
		"info":    &types.VmfsDatastoreInfo{DatastoreInfo: types.DatastoreInfo{MaxVirtualDiskCapacity: 1 << 30}},
	}}}}
	if err := want.checkSpace(); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("bigger than any disk there: %v", err)
	}
}

// How a disk is provisioned, and where it is attached.
func TestDiskSpec(t *testing.T) {
	pv := func(key, bus int32) types.BaseVirtualDevice {
		c := newDiskController(job.PVSCSI, bus)
		c.GetVirtualDevice().Key = key
		return c
	}
	lsi := newDiskController(job.LSI, 0)
	lsi.GetVirtualDevice().Key = 1000
	at := func(controller, unit int32) types.BaseVirtualDevice {
		return &types.VirtualDisk{VirtualDevice: types.VirtualDevice{ControllerKey: controller, UnitNumber: types.NewInt32(unit)}}
	}
	var full object.VirtualDeviceList
	for unit := range int32(16) {
		if unit != 7 {
			full = append(full, at(1000, unit))
		}
	}
	for what, tc := range map[string]struct {
		devices object.VirtualDeviceList
		want    slot
		added   bool
	}{
		"one disk":              {object.VirtualDeviceList{pv(1000, 0), at(1000, 0)}, slot{key: 1000, unit: 1}, false},
		"seven disks":           {append(object.VirtualDeviceList{pv(1000, 0)}, full[:7]...), slot{key: 1000, unit: 8}, false},
		"paravirtual preferred": {object.VirtualDeviceList{lsi, pv(1001, 1)}, slot{key: 1001, unit: 0}, false},
		"only LSI":              {object.VirtualDeviceList{lsi, at(1000, 0)}, slot{key: 1000, unit: 1}, false},
		"full":                  {append(object.VirtualDeviceList{pv(1000, 0)}, full...), slot{key: -1, unit: 0}, true},
		"none":                  {nil, slot{key: -1, unit: 0}, true},
	} {
		got, err := (&vm{devices: tc.devices}).controller()
		if err != nil || got.key != tc.want.key || got.unit != tc.want.unit || (got.added != nil) != tc.added {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, tc.want)
		}
	}
	ds := &entity{name: "ds"}
	for provision, want := range map[job.ProvisionType][2]bool{
		job.ProvisionThin: {true, false}, job.ProvisionThick: {false, false}, job.ProvisionEagerZeroed: {false, true},
	} {
		disk := wantedDisk{OutputDisk: platforms.OutputDisk{SizeBytes: 64 << 20, Provision: provision}, diskName: diskName{ds, "x.vmdk"}}
		spec, err := (&vm{devices: object.VirtualDeviceList{pv(1000, 0)}}).diskSpec(disk, disk.partial("ce-0123456789ab"))
		if err != nil {
			t.Fatal(err)
		}
		device := spec.DeviceChange[0].GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk)
		b := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if *b.ThinProvisioned != want[0] || *b.EagerlyScrub != want[1] || device.CapacityInBytes != 64<<20 || b.FileName != "[ds] x.ce-0123456789ab.partial.vmdk" {
			t.Errorf("%s: %+v", provision, b)
		}
	}
}

// A disk that somebody attached to a CE stays when the CE goes.
func TestForeignDiskStays(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	intact := h.PlantOutput(t, "[LocalDS_0] images/theirs.vmdk")
	ce := h.ceVM(t, platformtest.NewCall(h, platformtest.Create).CE.Name)
	place, err := ce.controller()
	if err != nil {
		t.Fatal(err)
	}
	h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) {
		return ce.object(d).Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd,
			Device: &types.VirtualDisk{
				VirtualDevice: types.VirtualDevice{Key: -9, ControllerKey: place.key, UnitNumber: &place.unit, Backing: &types.VirtualDiskFlatVer2BackingInfo{
					VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[LocalDS_0] images/theirs.vmdk"}, DiskMode: "persistent",
				}},
				CapacityInKB: 1024,
			},
		}}})
	})
	if n := h.Attached(t, ce.name); n != 1 {
		t.Fatalf("%d disks attached", n)
	}
	platformtest.Clean(t, h)
	if !intact() {
		t.Error("somebody else's disk went with the CE")
	}
}
