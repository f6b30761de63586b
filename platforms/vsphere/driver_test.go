package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// Names that are not there are refused with those that are.
func TestNames(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.makePool(t, "gold")
	for what, tc := range map[string]struct {
		change func(*job.Target)
		kind   platforms.Kind
		in     string
	}{
		"datacenter":        {func(w *job.Target) { w.Datacenter = "DC" }, platforms.NotFound, `datacenter: there is no "DC"; there is DC0`},
		"datastore":         {func(w *job.Target) { w.Datastore = "LocalDS_1" }, platforms.NotFound, `datastore: there is no "LocalDS_1"; there is LocalDS_0`},
		"cluster":           {func(w *job.Target) { w.Cluster = "DC0_H0" }, platforms.NotFound, `cluster: there is no "DC0_H0"; there is DC0_C0`},
		"network":           {func(w *job.Target) { w.Network = "vm network" }, platforms.NotFound, `network: there is no "vm network"; there is VM Network, `},
		"resourcePool":      {func(w *job.Target) { w.ResourcePool = "silver" }, platforms.NotFound, `resourcePool: there is no "silver"; there is `},
		"folder":            {func(w *job.Target) { w.Folder = "ce" }, platforms.NotFound, `folder: there is no "ce"; there is `},
		"hostSystem":        {func(w *job.Target) { w.Cluster, w.HostSystem = "", "DC0_H9" }, platforms.NotFound, `hostSystem: there is no "DC0_H9"; there is DC0_H0, `},
		"datacenter's path": {func(w *job.Target) { w.Datacenter = "/DC0" }, "", ""},
		"cluster's path":    {func(w *job.Target) { w.Cluster = "/DC0/host/DC0_C0" }, "", ""},
		"path below":        {func(w *job.Target) { w.Folder = "/DC0/vm" }, "", ""},
		"a host":            {func(w *job.Target) { w.Cluster, w.HostSystem = "", "DC0_H0" }, "", ""},
		"a cluster's host":  {func(w *job.Target) { w.Cluster, w.HostSystem = "", "DC0_C0_H1" }, "", ""},
		"a pool":            {func(w *job.Target) { w.ResourcePool = "gold" }, "", ""},
		"a pool's path":     {func(w *job.Target) { w.ResourcePool = "/DC0/host/DC0_C0/Resources/gold" }, "", ""},
		"a port group":      {func(w *job.Target) { w.Network = "DC0_DVPG0" }, "", ""},
	} {
		where := h.where
		tc.change(&where)
		err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.open(t, h.config(), where))
		if platforms.KindOf(err) != tc.kind || err != nil && !strings.Contains(err.Error(), tc.in) {
			t.Errorf("%s: %s, %v; want %q with %s", what, platforms.KindOf(err), err, tc.kind, tc.in)
		}
	}
}

// A CE goes where the request says, on any kind of place.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		change func(*job.Target)
		noDRS  bool
		folder string // path
		host   string // prefix
	}{
		"cluster":             {func(*job.Target) {}, false, "/DC0/vm/imageport", "DC0_C0_H"},
		"cluster without DRS": {func(*job.Target) {}, true, "/DC0/vm/imageport", "DC0_C0_H"},
		"host":                {func(w *job.Target) { w.Cluster, w.HostSystem = "", "DC0_H0" }, false, "/DC0/vm/imageport", "DC0_H0"},
		"host of a cluster":   {func(w *job.Target) { w.Cluster, w.HostSystem = "", "DC0_C0_H2" }, false, "/DC0/vm/imageport", "DC0_C0_H2"},
		"folder":              {func(w *job.Target) { w.Folder = "lab/ces" }, false, "/DC0/vm/lab/ces", "DC0_C0_H"},
		"pool, port group":    {func(w *job.Target) { w.ResourcePool, w.Network = "gold", "DC0_DVPG0" }, false, "/DC0/vm/imageport", "DC0_C0_H"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			eye := h.eye()
			h.makePool(t, "gold")
			folder, err := object.NewFolder(eye.client, eye.known.Load().vmFolder.ref).CreateFolder(t.Context(), "lab")
			if err == nil {
				_, err = folder.CreateFolder(t.Context(), "ces")
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.noDRS {
				cluster := object.NewClusterComputeResource(eye.client, eye.known.Load().compute.ref)
				if _, err := eye.run(t.Context(), func(ctx context.Context) (*object.Task, error) {
					return cluster.Reconfigure(ctx, &types.ClusterConfigSpecEx{DrsConfig: &types.ClusterDrsConfigInfo{Enabled: types.NewBool(false)}}, true)
				}); err != nil {
					t.Fatal(err)
				}
			}
			where := h.where
			tc.change(&where)
			d := h.open(t, h.config(), where)
			call := platformtest.NewCall(h, platformtest.Create)
			for _, verb := range []platformtest.Verb{platformtest.Check, platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk, platformtest.MakeVM} {
				call.Verb = verb
				if err := call.Do(t.Context(), d); err != nil {
					t.Fatalf("%s: %v", verb, err)
				}
			}
			v := h.ceVM(t, call.CE.Name)
			p, err := eye.read(t.Context(), v.ref, "runtime.host", "resourcePool", "network", "config.memorySizeMB")
			if err != nil {
				t.Fatal(err)
			}
			host, err := eye.read(t.Context(), get[types.ManagedObjectReference](p, "runtime.host"), "name")
			if err != nil {
				t.Fatal(err)
			}
			if name := get[string](host, "name"); !strings.HasPrefix(name, tc.host) {
				t.Errorf("it is on %s, want %s", name, tc.host)
			}
			s := d.known.Load()
			if get[types.ManagedObjectReference](p, "resourcePool") != s.pool.ref {
				t.Error("it is in another pool")
			}
			found, err := object.NewSearchIndex(eye.client).FindByInventoryPath(t.Context(), tc.folder+"/"+call.CE.Name)
			if err != nil || found == nil || found.Reference() != v.ref {
				t.Errorf("in %s is %v, %v", tc.folder, found, err)
			}
			if on := network(v); on != networkOf(t, d) {
				t.Errorf("it is connected to %s, want %s", on, networkOf(t, d))
			}
			call.Verb = platformtest.Destroy
			if err := call.Do(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
}

func (h *simHarness) makePool(t *testing.T, name string) {
	t.Helper()
	eye := h.eye()
	pool := object.NewResourcePool(eye.client, eye.known.Load().pool.ref)
	if _, err := pool.Create(t.Context(), name, types.DefaultResourceConfigSpec()); err != nil {
		t.Fatal(err)
	}
}

// network tells what the VM's first adapter is connected to.
func network(v *vm) string {
	for _, device := range v.devices {
		if c, ok := device.(types.BaseVirtualEthernetCard); ok {
			return backingText(c.GetVirtualEthernetCard().Backing)
		}
	}
	return "nothing"
}

func networkOf(t *testing.T, d *Driver) string {
	t.Helper()
	b, err := d.backing(t.Context(), d.known.Load())
	if err != nil {
		t.Fatal(err)
	}
	return backingText(b)
}

func backingText(b types.BaseVirtualDeviceBackingInfo) string {
	switch b := b.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		return b.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		return b.Port.PortgroupKey
	}
	return fmt.Sprintf("%T", b)
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Destroy)
	name := h.allVMs(t)[0].name
	for wanted, kind := range map[string]platforms.Kind{
		name: "", "imageport/" + name: "", "/DC0/vm/imageport/" + name: "", "appliance": platforms.NotFound,
	} {
		cfg := h.config()
		cfg.Appliance, cfg.Template = "", wanted
		d := h.open(t, cfg, h.where)
		call := platformtest.NewCall(h, platformtest.Create)
		err := call.Do(t.Context(), d)
		if platforms.KindOf(err) != kind || err != nil && !strings.Contains(err.Error(), "there is "+name) {
			t.Errorf("template %s: %v; want %q", wanted, err, kind)
		}
		platformtest.Clean(t, h)
	}
	if n := len(h.allVMs(t)); n != 1 {
		t.Errorf("there are %d VMs now, there was the template", n)
	}
}

// The clone goes on although its task was cancelled, and lands after Destroy
// has found nothing: List shows it, Create takes it, Destroy removes it.
func TestLateArrival(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Destroy)
	h.lab.Delay("CloneVM_Task", beforeCancel+4*time.Second) // it can be cancelled, and goes on
	call := platformtest.NewCall(h, platformtest.Create)
	for _, next := range []platformtest.Verb{platformtest.Create, platformtest.Destroy} {
		err := h.cancelled(t, call, "CloneVM_Task")
		if !errors.Is(err, context.Canceled) || platforms.KindOf(err) != platforms.Busy {
			t.Fatalf("cancelled: %v", err)
		}
		platformtest.Do(t, h, platformtest.Destroy)
		if left := h.Leftovers(t); len(left) > 0 {
			t.Fatalf("it does not come late: %q", left)
		}
		var listed []platforms.Instance
		for deadline := time.Now().Add(30 * time.Second); len(listed) == 0 && err != nil && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			listed, err = h.Open(t).List(t.Context())
			if err == nil && len(listed) == 0 {
				err = errors.New("nothing has landed")
			}
		}
		if err != nil || len(listed) != 1 || listed[0].Name != call.CE.Name || listed[0].State != platforms.Stopped || listed[0].Job != call.CE.Job {
			t.Fatalf("after it has landed: %+v, %v", listed, err)
		}
		platformtest.Do(t, h, next)
		if next == platformtest.Create && h.Agents(t, call.CE.Name) != 1 {
			t.Error("it does not run")
		}
		platformtest.Clean(t, h)
	}
}

func TestGuests(t *testing.T) {
	for _, tc := range []struct {
		build  int
		server bool
		want   string
	}{
		{26100, false, "windows11_64Guest"}, {22631, false, "windows11_64Guest"}, {19045, false, "windows9_64Guest"}, {10240, false, "windows9_64Guest"},
		{9600, false, "windows8_64Guest"}, {7601, false, "windows7_64Guest"}, {6002, false, "winVista64Guest"}, {0, false, "otherGuest64"},
		{26100, true, "windows2022srvNext_64Guest"}, {20348, true, "windows2019srvNext_64Guest"}, {17763, true, "windows2019srv_64Guest"},
		{14393, true, "windows9Server64Guest"}, {9600, true, "windows8Server64Guest"}, {7601, true, "windows7Server64Guest"}, {6003, true, "winLonghorn64Guest"},
	} {
		got := guests(tc.build, tc.server)
		if got[0] != tc.want || got[len(got)-1] != "otherGuest64" || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("build %d, server %v: %q, want %s first", tc.build, tc.server, got, tc.want)
		}
	}
}

// An output VM has the firmware, the controller and the name of the Windows that
// were asked for, as far as this vSphere knows them.
func TestOutputVM(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Before(h, platformtest.MakeVM)...)
	d := h.Open(t).(*Driver)
	for i, tc := range []struct {
		controller job.Controller
		firmware   job.Firmware
		kind       types.BaseVirtualDevice
	}{
		{job.PVSCSI, job.UEFI, (*types.ParaVirtualSCSIController)(nil)}, {job.LSISAS, job.BIOS, (*types.VirtualLsiLogicSASController)(nil)},
		{job.LSI, job.BIOS, (*types.VirtualLsiLogicController)(nil)}, {job.AHCI, job.UEFI, (*types.VirtualAHCIController)(nil)},
		{job.NVMe, job.UEFI, (*types.VirtualNVMEController)(nil)},
	} {
		o := h.OutputVM(0)
		o.Name, o.Controller, o.Firmware = fmt.Sprintf("output-made-%d", i), tc.controller, tc.firmware
		if i == 1 {
			h.inject("CreateVM_Task", &types.InvalidArgument{InvalidProperty: "configSpec.guestId"}, 1)
		}
		if _, err := d.MakeOutputVM(t.Context(), o); err != nil {
			t.Fatalf("%s: %v", tc.controller, err)
		}
		h.lab.ClearFaults()
		v := h.ceVM(t, o.Name)
		p, err := h.eye().read(t.Context(), v.ref, "config.firmware", "config.guestId", "config.bootOptions")
		if err != nil {
			t.Fatal(err)
		}
		guest := map[bool]string{true: "windows9_64Guest", false: "windows11_64Guest"}[i == 1]
		if get[string](p, "config.firmware") != map[job.Firmware]string{job.UEFI: "efi", job.BIOS: "bios"}[tc.firmware] || get[string](p, "config.guestId") != guest {
			t.Errorf("%s: %+v", tc.controller, p)
		}
		disks := v.disks()
		if len(disks) != 1 || disks[0].file != o.Disk {
			t.Fatalf("%s: disks %+v", tc.controller, disks)
		}
		controllers := v.devices.SelectByType(tc.kind)
		if len(controllers) != 1 || controllers[0].GetVirtualDevice().Key != disks[0].device.ControllerKey {
			t.Errorf("the disk is not at the %s controller: %+v", tc.controller, controllers)
		}
		// The next VM is to have the disk.
		h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) {
			return v.object(d).Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
				&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disks[0].device},
			}})
		})
	}
}

func TestNear(t *testing.T) {
	var all []*entity
	for i := range 20 {
		all = append(all, &entity{name: fmt.Sprintf("Network %02d", i)})
	}
	all = append(all, &entity{name: "VM Network"}, &entity{name: "VM Network"})
	if got := near("vm-network", all); !strings.HasPrefix(got, "VM Network, ") || !strings.HasSuffix(got, " and 13 more") {
		t.Error(got)
	}
	if _, err := pick("network", "VM Network", "", all); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("of two: %v", err)
	}
}
