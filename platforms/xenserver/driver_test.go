package xenserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	labxapi "imageport/lab/xapi"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

// The CE is a VM with firmware UEFI, its own disk first, on the network, with the
// seed where the guest finds it, and depends on no template.
func TestMachine(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg := h.config()
	cfg.MemoryMB, cfg.CPUs, cfg.Now = 512, 3, func() time.Time { return platformtest.Deadline }
	call := platformtest.NewCall(h, platformtest.Create)
	in, err := h.open(t, cfg, h.where).Create(t.Context(), call.CE)
	if err != nil {
		t.Fatal(err)
	}
	if want := (platforms.Instance{Name: call.CE.Name, Job: call.CE.Job, RunID: "run", Owner: call.CE.Owner, State: platforms.Running, Created: platformtest.Deadline, Ref: in.Ref}); in != want ||
		!strings.HasPrefix(in.Ref, fmt.Sprintf("%s:%d/", h.lab.Host(), h.lab.Port())) {
		t.Errorf("got %+v, want %+v", in, want)
	}
	record := h.lab.Records("VM")[string(h.ceVM(t, call.CE.Name).ref)]
	for field, want := range map[string]any{
		"memory_static_max": int64(512 << 20), "memory_dynamic_min": int64(512 << 20), "VCPUs_max": int64(3), "VCPUs_at_startup": int64(3),
		"HVM_boot_policy": "BIOS order", "domain_type": "hvm", "is_a_template": false, "affinity": "OpaqueRef:NULL",
		"actions_after_crash": "destroy", "ha_restart_priority": "", "name_label": call.CE.Name,
	} {
		if fmt.Sprint(record[field]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", field, record[field], want)
		}
	}
	if got := fmt.Sprint(record["HVM_boot_params"]); got != "map[firmware:uefi order:c]" {
		t.Errorf("it starts by %s", got)
	}
	if keys := slices.Collect(maps.Keys(h.ceVM(t, call.CE.Name).Xenstore)); !slices.Equal(keys, []string{"vm-data/" + seed.Key}) {
		t.Errorf("xenstore has %q", keys)
	}
	disks := h.disks(t, call.CE.Name)
	if len(disks) != 1 || disks[0].Device != "0" {
		t.Fatalf("it has the disks %+v", disks)
	}
	disk := h.allVDIs(t)[disks[0].VDI]
	if disk.Size != 4<<20 || disk.Marks[keyCE] != call.CE.Name || disk.Marks[keyJob] != call.CE.Job || disk.Marks[keyOwner] != call.CE.Owner {
		t.Errorf("its disk is %+v", disk)
	}
	if got := platformtest.ReadFile(t, h.file(t, disk.ref), 0, applianceBytes); !slices.Equal(got, platformtest.ReadFile(t, h.appliance, 0, applianceBytes)) {
		t.Error("its disk is not the appliance")
	}
	for _, vif := range h.lab.Records("VIF") {
		if network := h.lab.Records("network")[fmt.Sprint(vif["network"])]; network["name_label"] != labxapi.DefaultNetwork {
			t.Errorf("it is on the network %v", network)
		}
	}
	if strings.Contains(fmt.Sprint(record), call.CE.Seed.Gateway.Token) {
		t.Error("the token stands in the VM's record as it is")
	}
}

// Names and UUIDs that are not there, or stand for several things, are refused with
// what there is.
func TestNames(t *testing.T) {
	t.Parallel()
	h := startHarness(t, labxapi.Config{Networks: []string{"lan", "twin", "twin"}})
	var twins []string
	lan := ""
	for _, n := range h.lab.Records("network") {
		switch n["name_label"] {
		case "lan":
			lan = n["uuid"].(string)
		case "twin":
			twins = append(twins, n["uuid"].(string))
		}
	}
	slices.Sort(twins)
	const nobody = "00000000-0000-4000-8000-000000000000"
	for what, tc := range map[string]struct {
		change func(*job.Target)
		kind   platforms.Kind
		in     string
	}{
		"network":           {func(w *job.Target) { w.Network = "lan" }, "", ""},
		"network's UUID":    {func(w *job.Target) { w.Network = strings.ToUpper(lan) }, "", ""},
		"UUID of a twin":    {func(w *job.Target) { w.Network = twins[1] }, "", ""},
		"no such network":   {func(w *job.Target) { w.Network = "LAN" }, platforms.NotFound, `network: there is no "LAN"; there is `},
		"no network's UUID": {func(w *job.Target) { w.Network = nobody }, platforms.NotFound, "lan, twin"},
		"a name of two":     {func(w *job.Target) { w.Network = "twin" }, platforms.BadRequest, twins[0] + " or " + twins[1]},
		"no such SR":        {func(w *job.Target) { w.Network, w.StorageRepositoryUUID = "lan", nobody }, platforms.NotFound, "the pool has no SR " + nobody},
		"another SR":        {func(w *job.Target) { w.Network, w.StorageRepositoryUUID = "lan", h.srUUID(t, labxapi.SharedSR) }, "", ""},
		"SR in upper case": {func(w *job.Target) {
			w.Network, w.StorageRepositoryUUID = "lan", strings.ToUpper(w.StorageRepositoryUUID)
		}, "", ""},
		"VDI instead of SR":  {func(w *job.Target) { w.Network, w.StorageRepositoryUUID = "lan", lan }, platforms.NotFound, "the pool has no SR " + lan},
		"no host's name":     {func(w *job.Target) { w.XenHost = "pool.invalid" }, platforms.NotFound, "pool.invalid"},
		"nobody listens":     {func(w *job.Target) { w.XenPort = 1 }, platforms.Busy, "127.0.0.1:1"},
		"no such credential": {func(w *job.Target) { w.PlatformCredentialID = "x" }, platforms.Internal, "credential x"},
	} {
		where := h.where
		tc.change(&where)
		p, err := New(h.config())
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Open(t.Context(), where)
		if err == nil {
			err = platformtest.NewCall(h, platformtest.Check).Do(t.Context(), d)
		}
		if platforms.KindOf(err) != tc.kind || err != nil && !strings.Contains(err.Error(), tc.in) {
			t.Errorf("%s: %s, %v; want %q with %s", what, platforms.KindOf(err), err, tc.kind, tc.in)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
	}
}

// A full SR, and hosts without memory, are seen before anything is made.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.lab.Fill(labxapi.DefaultSR, 70<<20)
	platformtest.Do(t, h, platformtest.Check)
	disk := platformtest.NewCall(h, platformtest.CheckDisk)
	disk.Disk.SizeBytes = 100 << 20
	for what, err := range map[string]error{"a disk": disk.Do(t.Context(), h.Open(t)), "the CE": func() error {
		h.lab.Fill(labxapi.DefaultSR, 1<<20)
		return platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t))
	}()} {
		if platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), labxapi.DefaultSR) || !strings.Contains(err.Error(), "MiB free") {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.lab.Fill(labxapi.DefaultSR, 1<<30)
	cfg := h.config()
	cfg.MemoryMB = maxMemoryMB
	if err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.open(t, cfg, h.where)); platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), "memory") {
		t.Errorf("no memory: %v", err)
	}
}

func TestHasRoom(t *testing.T) {
	for _, tc := range []struct {
		kind string
		free int64 // MiB
		size int64 // MiB
		fits bool
	}{
		{"lvm", 1000, 1000, true}, {"lvmoiscsi", 999, 1000, false}, {"lvmohba", 0, 1, false},
		{"ext", 64, 1000, true}, {"nfs", 63, 1000, false}, {"smb", 10, 10, true}, {"gfs2", 9, 10, false}, {"nfs", -5, 1, false},
	} {
		sr := &repository{Name: "x", Type: tc.kind, Size: 5000 * mib, Used: (5000 - tc.free) * mib}
		if err := sr.hasRoom(tc.size*mib, "a disk"); (err == nil) != tc.fits || err != nil && platforms.KindOf(err) != platforms.Full {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestCheckDisk(t *testing.T) {
	for _, tc := range []struct {
		disk platforms.OutputDisk
		kind string
		in   string // "": it is fine
	}{
		{platforms.OutputDisk{Name: "Windows 11 (golden) ü", SizeBytes: 2040 << 30}, "lvmoiscsi", ""},
		{platforms.OutputDisk{Name: "x", SizeBytes: 2041 << 30}, "lvmoiscsi", "at most 2040 GiB"},
		{platforms.OutputDisk{Name: "x", SizeBytes: 16 << 40}, "gfs2", ""},
		{platforms.OutputDisk{Name: "x", SizeBytes: 17 << 40}, "gfs2", "at most 16384 GiB"},
		{platforms.OutputDisk{Name: "x", SizeBytes: 1 << 20, Provision: job.ProvisionThick}, "ext", "property of its SR"},
		{platforms.OutputDisk{Name: "x", SizeBytes: 1 << 20, Provision: job.ProvisionEagerZeroed}, "ext", "property of its SR"},
		{platforms.OutputDisk{Name: "x", SizeBytes: 1 << 20, Format: platforms.VHDX}, "ext", "format"},
		{platforms.OutputDisk{Name: strings.Repeat("ü", 200), SizeBytes: 1 << 20}, "ext", ""},
		{platforms.OutputDisk{Name: strings.Repeat("ü", 201), SizeBytes: 1 << 20}, "ext", "200 characters"},
	} {
		err := checkDisk(tc.disk, &repository{Type: tc.kind})
		if (err == nil) != (tc.in == "") || err != nil && (platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), tc.in)) {
			t.Errorf("%+v: %v; want %q", tc.disk, err, tc.in)
		}
	}
}

// What somebody else has attached to a CE stays when that goes, and a snapshot that a
// backup made of it is not taken for a CE.
func TestForeignDisks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	intact := h.PlantOutput(t, "somebody's")
	ce := h.ceVM(t, platformtest.NewCall(h, platformtest.Create).CE.Name)
	for ref, v := range h.allVDIs(t) {
		if v.Name == "somebody's" {
			if err := h.eye.createVBD(t.Context(), ce, ref, "5", false); err != nil {
				t.Fatal(err)
			}
		}
	}
	platformtest.Do(t, h, platformtest.AddDisk)
	platformtest.Clean(t, h)
	if !intact() {
		t.Error("what somebody else attached is gone")
	}
}

// Disks that are removed or moved under the driver are told.
func TestLostDisk(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.AddDisk)
	platformtest.Do(t, h, platformtest.Stop)
	for _, v := range h.outputVDIs(t) {
		if err := h.eye.destroyVDI(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	platformtest.Do(t, h, platformtest.Create)
	for _, verb := range []platformtest.Verb{platformtest.AddDisk, platformtest.KeepDisk} {
		err := platformtest.NewCall(h, verb).Do(t.Context(), h.Open(t))
		if platforms.KindOf(err) != platforms.NotFound || !strings.Contains(err.Error(), "somebody removed its VDI") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	platformtest.Clean(t, h)
}

// A CE has more than one output disk, each on a device of its own for good, and no
// more than there are devices.
func TestDevices(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	call := platformtest.NewCall(h, platformtest.AddDisk)
	d := h.Open(t).(*Driver)
	for n := firstDevice; n <= lastDevice; n++ {
		disk := h.OutputDisk(n)
		disk.SizeBytes = mib
		ref, err := d.AddOutputDisk(t.Context(), call.CE.Name, disk)
		if want := platforms.ByXen(51712 + 16*uint64(n)); err != nil || ref.Selector != want {
			t.Fatalf("disk %d: %+v, %v; want %s", n, ref, err, want)
		}
		if n%2 == 0 { // its device is not used again
			if err := d.KeepOutputDisk(t.Context(), call.CE.Name, disk.Name); err != nil {
				t.Fatal(err)
			}
			h.RemoveOutput(t, disk.Name)
		}
	}
	if err := call.Do(t.Context(), d); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), "had 12 disks") {
		t.Errorf("one more: %v", err)
	}
	platformtest.Clean(t, h)
}

// A pool plugs no disk into a VM of which it has not seen the drivers yet: that is
// waited for.
func TestDriversLate(t *testing.T) {
	t.Parallel()
	h := startHarness(t, labxapi.Config{DriversAfter: 60 * time.Millisecond})
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.AddDisk)
	platformtest.Clean(t, h)
	never := startHarness(t, labxapi.Config{DriversAfter: time.Hour})
	platformtest.Do(t, never, platformtest.Create)
	err := platformtest.NewCall(never, platformtest.AddDisk).Do(t.Context(), never.Open(t))
	if platforms.KindOf(err) != platforms.Busy || xapi.CodeOf(err) != "VM_MISSING_PV_DRIVERS" || !strings.Contains(err.Error(), "feature/hotplug/vbd") {
		t.Errorf("drivers that never come: %v", err)
	}
	platformtest.Clean(t, never)
}

// A CE whose own disk was deleted by somebody is made whole.
func TestRepair(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Stop)
	name := platformtest.NewCall(h, platformtest.Create).CE.Name
	for _, b := range h.disks(t, name) {
		h.admin(t, "VDI.destroy", nil, b.VDI)
	}
	platformtest.Do(t, h, platformtest.Create)
	if h.Agents(t, name) != 1 {
		t.Error("it does not run")
	}
	platformtest.Clean(t, h)
	if err := platformtest.NewCall(h, platformtest.Find).Do(t.Context(), h.Open(t)); !errors.Is(err, platforms.ErrNotFound) {
		t.Error(err)
	}
}
