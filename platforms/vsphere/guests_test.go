package vsphere

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// withOffCE gives the call of StartGuest, for a CE with its disk that is off.
func withOffCE(t *testing.T, h *simHarness) platformtest.Call {
	t.Helper()
	platformtest.Do(t, h, platformtest.Before(h, platformtest.StartGuest)...)
	return platformtest.NewCall(h, platformtest.StartGuest)
}

// A guest has the machine that was asked for, its CE's disk, and nothing else.
func TestGuestVM(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	ce := h.ceVM(t, call.CE.Name)
	for _, tc := range []struct {
		change func(*platforms.Guest)
		kind   types.BaseVirtualDevice
		nic    types.BaseVirtualDevice
		guest  string
		refuse bool // the vSphere does not know the first name of the Windows
	}{
		{func(*platforms.Guest) {}, (*types.ParaVirtualSCSIController)(nil), (*types.VirtualVmxnet3)(nil), "windows9_64Guest", false},
		{func(g *platforms.Guest) { g.Controller, g.NIC, g.Firmware = "", "", job.BIOS }, (*types.VirtualAHCIController)(nil), nil, "windows9_64Guest", false},
		{func(g *platforms.Guest) { g.Controller, g.NIC, g.WindowsBuild = job.LSISAS, "e1000e", 26100 }, (*types.VirtualLsiLogicSASController)(nil), (*types.VirtualE1000e)(nil), "windows9_64Guest", true},
		{func(g *platforms.Guest) { g.NIC, g.WindowsBuild, g.Server = "e1000", 17763, true }, (*types.ParaVirtualSCSIController)(nil), (*types.VirtualE1000)(nil), "windows2019srv_64Guest", false},
	} {
		guest := call.Guest
		guest.MemoryMB, guest.CPUs = 128, 3
		tc.change(&guest)
		if tc.refuse {
			h.inject("CreateVM_Task", &types.InvalidArgument{InvalidProperty: "configSpec.guestId"}, 1)
		}
		d := h.Open(t).(*Driver)
		if _, err := d.StartGuest(t.Context(), ce.name, guest); err != nil {
			t.Fatalf("%+v: %v", guest, err)
		}
		h.lab.ClearFaults()
		v := h.ceVM(t, ce.name+guestSuffix)
		p, err := h.eye().read(t.Context(), v.ref, "config.firmware", "config.guestId", "config.hardware.numCPU", "config.hardware.memoryMB", "parent", "resourcePool")
		if err != nil {
			t.Fatal(err)
		}
		if get[string](p, "config.firmware") != map[job.Firmware]string{job.UEFI: "efi", job.BIOS: "bios"}[guest.Firmware] || get[string](p, "config.guestId") != tc.guest ||
			get[int32](p, "config.hardware.numCPU") != 3 || get[int32](p, "config.hardware.memoryMB") != 128 {
			t.Errorf("%+v: %+v", guest, p)
		}
		disks := v.disks()
		if len(disks) != 1 || disks[0].file != ce.disks()[1].file || disks[0].uuid != ce.disks()[1].uuid {
			t.Fatalf("disks %+v; the CE has %+v", disks, ce.disks())
		}
		if b := disks[0].device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); b.DiskMode != "independent_persistent" {
			t.Errorf("the disk is %s", b.DiskMode)
		}
		if c := v.devices.SelectByType(tc.kind); len(c) != 1 || c[0].GetVirtualDevice().Key != disks[0].device.ControllerKey {
			t.Errorf("the disk is not at the controller of %q: %+v", guest.Controller, c)
		}
		var cards object.VirtualDeviceList
		for _, device := range v.devices {
			switch device.(type) {
			case types.BaseVirtualEthernetCard:
				cards = append(cards, device)
			case *types.VirtualCdrom, *types.VirtualFloppy:
				t.Errorf("it has a %T", device)
			}
		}
		if (tc.nic == nil) != (len(cards) == 0) || len(cards) != len(v.devices.SelectByType(tc.nic)) && tc.nic != nil {
			t.Errorf("cards %+v, want %T", cards, tc.nic)
		}
		for _, card := range cards {
			if c := card.GetVirtualDevice().Connectable; c == nil || c.Connected || c.StartConnected || c.AllowGuestControl {
				t.Errorf("the card is connected: %+v", c)
			}
		}
		for key, want := range map[string]string{keyJob: call.CE.Job, keyOwner: call.CE.Owner, keyRun: call.CE.RunID, keySeed: "", keyCE: ""} {
			if v.extra[key] != want {
				t.Errorf("%s is %q, want %q", key, v.extra[key], want)
			}
		}
		if err := d.RemoveGuest(t.Context(), ce.name); err != nil {
			t.Fatal(err)
		}
	}
	platformtest.Clean(t, h)
}

func TestGuestRefused(t *testing.T) {
	s := &site{datacenter: &entity{path: "/DC0"}, datastores: []*entity{{name: "ds", path: "/DC0/datastore/ds"}}}
	good := platforms.Guest{Disk: "[ds] ce-0123456789ab/work.vmdk", Firmware: job.UEFI, MemoryMB: 4096, CPUs: 2}
	platformtest.Refuses(t, good, func(g platforms.Guest) error {
		_, err := s.wantGuest(g)
		return err
	}, map[string]func(*platforms.Guest){
		"": func(g *platforms.Guest) { g.Disk = "" }, "firmware": func(g *platforms.Guest) { g.Firmware = "efi" },
		"controller": func(g *platforms.Guest) { g.Controller = "ide" }, "virtio": func(g *platforms.Guest) { g.NIC = "virtio" },
		"1023": func(g *platforms.Guest) { g.MemoryMB = 1023 }, "33554432": func(g *platforms.Guest) { g.MemoryMB = 1 << 25 },
		"1000": func(g *platforms.Guest) { g.CPUs = 1000 },
	})
}

// The disk for a guest goes where the CE is, also on vSAN.
func TestWorkingDisk(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := platformtest.NewCall(h, platformtest.CheckDisk)
	call.Disk = h.Open(t).(*Driver).WorkingDisk(call.CE.Name)
	if want := "[LocalDS_0] " + call.CE.Name + "/work.vmdk"; call.Disk.Name != want {
		t.Fatalf("%+v, want %s", call.Disk, want)
	}
	call.Disk.SizeBytes, call.Guest.Disk = 16<<20, call.Disk.Name
	h.setTopDirectories(false) // as vSAN
	for _, verb := range []platformtest.Verb{platformtest.CheckDisk, platformtest.CheckGuest} {
		call.Verb = verb
		if err := call.Do(t.Context(), h.Open(t)); err != nil {
			t.Errorf("%s on vSAN: %v", verb, err)
		}
	}
}

// hooked opens a driver that calls something before the first call of a method.
func (h *simHarness) hooked(t *testing.T, method string, do func()) *Driver {
	first := sync.OnceFunc(do)
	return h.Watch(t, func(m string) {
		if m == method {
			first()
		}
	}).(*Driver)
}

// after opens a driver that, when a method is answered, hears what do gives instead, if
// that is an error.
func (h *simHarness) after(t *testing.T, name string, do func() error) *Driver {
	t.Helper()
	cfg := h.config()
	cfg.Wrap = func(inner soap.RoundTripper) soap.RoundTripper {
		return tripper(func(ctx context.Context, req, res soap.HasFault) error {
			err := inner.RoundTrip(ctx, req, res)
			if method(req) == name {
				if err := do(); err != nil {
					return err
				}
			}
			return err
		})
	}
	return h.open(t, cfg, h.where)
}

// cancelled makes a call in a context that ends when a method is answered.
func (h *simHarness) cancelled(t *testing.T, call platformtest.Call, method string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return call.Do(ctx, h.after(t, method, func() error {
		cancel()
		return nil
	}))
}

// A guest that vSphere does not switch on was not switched on: it is the next time.
func TestGuestNotSwitchedOn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	ce := h.ceVM(t, call.CE.Name)
	for what, tc := range map[string]struct {
		start func() error
		kind  platforms.Kind
	}{
		"no memory": {func() error {
			h.inject("PowerOnVM_Task", &types.InsufficientMemoryResourcesFault{}, 1)
			return call.Do(t.Context(), h.Open(t))
		}, platforms.Full},
		"somebody starts the CE": {func() error {
			return call.Do(t.Context(), h.hooked(t, "PowerOnVM_Task", func() {
				h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) { return ce.object(d).PowerOn(ctx) })
			}))
		}, platforms.Busy},
		"cancelled before": {func() error {
			ctx, cancel := context.WithCancel(t.Context())
			err := call.Do(ctx, h.hooked(t, "ReconfigVM_Task", cancel))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			return err
		}, platforms.Busy},
	} {
		err := tc.start()
		h.lab.ClearFaults()
		if platforms.KindOf(err) != tc.kind {
			t.Errorf("%s: %v; want %s", what, err, tc.kind)
		}
		d := h.Open(t).(*Driver)
		if g, err := d.FindGuest(t.Context(), ce.name); err != nil || g.On || g.Started {
			t.Errorf("%s: the guest is %+v, %v", what, g, err)
		}
		platformtest.Do(t, h, platformtest.Stop)
		if g, err := d.StartGuest(t.Context(), ce.name, call.Guest); err != nil || !g.On || !g.Started {
			t.Errorf("%s, then: %+v, %v", what, g, err)
		}
		platformtest.Do(t, h, platformtest.RemoveGuest)
	}
	platformtest.Clean(t, h)
}

// When the connection is lost while the guest is being switched on, it may be on,
// and is not switched on again.
func TestGuestMayBeOn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	lost := errors.New("connection reset by peer")
	if err := call.Do(t.Context(), h.after(t, "PowerOnVM_Task", func() error { return lost })); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	h.quiet(t)
	h.SwitchOff(t, call.CE.Name)
	g, err := h.Open(t).(*Driver).StartGuest(t.Context(), call.CE.Name, call.Guest)
	if err != nil || g.On || !g.Started {
		t.Errorf("it is %+v, %v", g, err)
	}
	platformtest.Clean(t, h)
}

// A guest that is made late, by a task that was cancelled, is removed.
func TestGuestComesLate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	h.lab.Delay("CreateVM_Task", beforeCancel+time.Second) // it can be cancelled, and goes on
	if err := h.cancelled(t, call, "CreateVM_Task"); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	d := h.Open(t).(*Driver)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		g, err := d.FindGuest(t.Context(), call.CE.Name)
		if err == nil && (g.On || g.Started) || err != nil && !errors.Is(err, platforms.ErrNotFound) || time.Now().After(end) {
			t.Fatalf("it comes as %+v, %v", g, err)
		}
		if err == nil {
			break
		}
	}
	h.lab.Delay("CreateVM_Task", 0)
	platformtest.Do(t, h, platformtest.RemoveGuest)
	platformtest.Do(t, h, platformtest.StartGuest)
	platformtest.Clean(t, h)
}

// What has the name of a guest and is none stays, and is in nobody's way but the
// guest's.
func TestGuestForeign(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	intact := h.Plant(t, call.CE.Name+guestSuffix)
	d := h.Open(t)
	for _, verb := range []platformtest.Verb{platformtest.StartGuest, platformtest.FindGuest, platformtest.StopGuest, platformtest.RemoveGuest} {
		call.Verb = verb
		if err := call.Do(t.Context(), d); platforms.KindOf(err) != platforms.Foreign {
			t.Errorf("%s: %v", verb, err)
		}
	}
	platformtest.Clean(t, h)
	if !intact() {
		t.Error("it is not intact")
	}
}

// A worker that dies while it takes a picture leaves nothing that stays.
func TestGuestScreenCut(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for n := 0; ; n++ {
		withOffCE(t, h)
		platformtest.Do(t, h, platformtest.StartGuest)
		finished := h.Cut(t, platformtest.NewCall(h, platformtest.GuestScreen), n)
		platformtest.Do(t, h, platformtest.GuestScreen)
		if finished && h.exists(t, "[LocalDS_0] "+platformtest.NewCall(h, platformtest.Find).CE.Name+guestSuffix+"/"+platformtest.NewCall(h, platformtest.Find).CE.Name+guestSuffix+"-1.png") {
			t.Error("the picture is still there")
		}
		platformtest.Clean(t, h)
		if finished {
			return
		}
	}
}

func TestTrouble(t *testing.T) {
	for _, tc := range []struct {
		p    properties
		want string
	}{
		{properties{"runtime.connectionState": types.VirtualMachineConnectionStateConnected, "runtime.powerState": types.VirtualMachinePowerStatePoweredOn}, ""},
		{properties{}, ""},
		{properties{"runtime.connectionState": types.VirtualMachineConnectionStateInaccessible}, "the VM is inaccessible"},
		{properties{"runtime.powerState": types.VirtualMachinePowerStateSuspended}, "the VM is suspended"},
		{properties{"runtime.question": types.VirtualMachineQuestionInfo{Text: "There is no more space\n for disk x.  Retry?"}}, "vSphere waits for an answer: There is no more space for disk x. Retry?"},
		{properties{"runtime.question": types.VirtualMachineQuestionInfo{Text: strings.Repeat("x", 5000)}}, "vSphere waits for an answer: " + strings.Repeat("x", maxText-29) + "…"},
	} {
		if got := troubleOf(tc.p); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.p, got, tc.want)
		}
	}
}

// Of two that start the guest one marks it first. The other one says that it is on,
// whenever that comes about.
func TestGuestSwitchedOnByAnother(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	for moment := range 12 { // it looks twice, at least
		for { // step by step
			h.Cut(t, call, 0)
			if g, err := h.Open(t).(*Driver).FindGuest(t.Context(), call.CE.Name); err == nil && g.Started {
				break // the first one has marked it, and gets no further
			}
		}
		guest, left := h.ceVM(t, call.CE.Name+guestSuffix), moment
		h.lab.Delay("PowerOnVM_Task", 20*time.Millisecond)
		g, err := h.Watch(t, func(string) {
			switch left--; left {
			case -1:
				if _, err := guest.object(h.eye()).PowerOn(t.Context()); err != nil {
					t.Error(err)
				}
			case -2:
				h.quiet(t) // it is on since the call before
			}
		}).(*Driver).StartGuest(t.Context(), call.CE.Name, call.Guest)
		h.lab.Delay("PowerOnVM_Task", 0)
		if err != nil || !g.On || !g.Started {
			t.Errorf("switched on before call %d: %+v, %v", moment, g, err)
		}
		platformtest.Do(t, h, platformtest.RemoveGuest)
	}
	platformtest.Clean(t, h)
}
