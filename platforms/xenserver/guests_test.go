package xenserver

import (
	"context"
	"errors"
	"net/http"
	"testing"

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
	for firmware, model := range map[job.Firmware]string{job.UEFI: "qemu-upstream-uefi", job.BIOS: "qemu-upstream-compat"} {
		call.Guest.Firmware, call.Guest.MemoryMB, call.Guest.CPUs = firmware, 128, 3
		if err := call.Do(t.Context(), h.Open(t)); err != nil {
			t.Fatal(err)
		}
		g := h.guests(t, call.CE.Name)[0]
		var is struct {
			Boot     map[string]string `json:"HVM_boot_params"`
			Platform map[string]string `json:"platform"`
			Memory   int64             `json:"memory_static_max"`
			CPUs     int64             `json:"VCPUs_at_startup"`
			Shutdown string            `json:"actions_after_shutdown"`
			Reboot   string            `json:"actions_after_reboot"`
			Crash    string            `json:"actions_after_crash"`
		}
		h.admin(t, "VM.get_record", &is, g.ref)
		if is.Boot["firmware"] != string(firmware) || is.Platform["device-model"] != model || is.Platform["device_id"] != "0002" || is.Platform["viridian"] != "true" ||
			is.Memory != 128<<20 || is.CPUs != 3 || is.Shutdown != "destroy" || is.Reboot != "restart" || is.Crash != "destroy" {
			t.Errorf("%s: %+v", firmware, is)
		}
		disks, err := h.eye.vbds(t.Context(), g.VBDs)
		if err != nil || len(disks) != 1 || disks[0].Device != "0" || !disks[0].Attached || h.allVDIs(t)[disks[0].VDI].UUID != g.Marks[keyGuestDisk] || len(g.VIFs) != 0 {
			t.Errorf("it has the disks %+v, %v, and cards %v", disks, err, g.VIFs)
		}
		if len(g.Xenstore) != 0 || g.Marks[keyJob] != call.CE.Job || g.Marks[keyOwner] != call.CE.Owner || g.Marks[keyRun] != call.CE.RunID {
			t.Errorf("%+v", g)
		}
		platformtest.Do(t, h, platformtest.RemoveGuest)
	}
	platformtest.Clean(t, h)
}

func TestGuestRefused(t *testing.T) {
	good := platforms.Guest{Disk: "ce-0123456789ab work", Firmware: job.UEFI, MemoryMB: 4096, CPUs: 2}
	platformtest.Refuses(t, good, wantGuest, map[string]func(*platforms.Guest){
		"": func(g *platforms.Guest) { g.Disk = "" }, "firmware": func(g *platforms.Guest) { g.Firmware = "efi" },
		"controller": func(g *platforms.Guest) { g.Controller = job.PVSCSI }, "33554432": func(g *platforms.Guest) { g.MemoryMB = 1 << 25 },
		"1000": func(g *platforms.Guest) { g.CPUs = 1000 },
	})
}

// A guest that the pool does not switch on was not switched on: it is the next time.
func TestGuestNotSwitchedOn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	ce := h.ceVM(t, call.CE.Name)
	cancelled, cancel := context.WithCancel(t.Context())
	for what, tc := range map[string]struct {
		ctx  context.Context
		d    func() *Driver
		kind platforms.Kind
	}{
		"no memory": {t.Context(), func() *Driver {
			h.lab.Inject("VM.start", 1, "HOST_NOT_ENOUGH_FREE_MEMORY", "1", "0")
			return h.Open(t).(*Driver)
		}, platforms.Full},
		"somebody starts the CE": {t.Context(), func() *Driver {
			started := false
			return h.before(t, func(method string) error {
				if method == "Async.VM.start" && !started {
					started = true
					h.admin(t, "VM.start", nil, ce.ref, false, false)
				}
				return nil
			})
		}, platforms.Busy},
		"cancelled before": {cancelled, func() *Driver {
			marks := 0
			return h.before(t, func(method string) error {
				if method == "VM.add_to_other_config" {
					if marks++; marks == 2 { // the first elects it
						cancel()
					}
				}
				return nil
			})
		}, platforms.Busy},
	} {
		err := call.Do(tc.ctx, tc.d())
		h.lab.ClearFaults()
		if platforms.KindOf(err) != tc.kind {
			t.Errorf("%s: %v; want %s", what, err, tc.kind)
		}
		d := h.Open(t).(*Driver)
		if g, err := d.FindGuest(t.Context(), ce.Name); err != nil || g.On || g.Started {
			t.Errorf("%s: the guest is %+v, %v", what, g, err)
		}
		platformtest.Do(t, h, platformtest.Stop)
		if g, err := d.StartGuest(t.Context(), ce.Name, call.Guest); err != nil || !g.On || !g.Started {
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
	cfg := h.config()
	cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
		return way(func(req *http.Request) (*http.Response, error) {
			res, err := inner.RoundTrip(req)
			if methodOf(req) == "Async.VM.start" {
				if err == nil {
					res.Body.Close()
				}
				return nil, lost
			}
			return res, err
		})
	}
	if err := call.Do(t.Context(), h.open(t, cfg, h.where)); !errors.Is(err, lost) {
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

// Of VMs that several callers made one is the guest, and the others go: whichever
// the CE says, also if another one looks better.
func TestGuestElected(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	v := h.ceVM(t, call.CE.Name)
	claims, err := v.Marks.claims()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := h.eye.findVDI(t.Context(), claims[0].VDI)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := h.eye.createGuest(t.Context(), v, call.Guest, disk); err != nil {
			t.Fatal(err)
		}
	}
	all, err := h.eye.lookGuests(t.Context(), v.Name)
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	for n, g := range []*vm{all[2], all[0]} { // the second comes too late
		if err := h.eye.electGuest(t.Context(), v, 1, g); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	state, err := h.Open(t).(*Driver).StartGuest(t.Context(), v.Name, call.Guest)
	if left := h.guests(t, v.Name); err != nil || !state.On || state.Ref != h.eye.address+"/"+all[2].UUID || len(left) != 1 {
		t.Errorf("it is %+v, %v; elected was %s of %d", state, err, all[2].UUID, len(left))
	}
	platformtest.Clean(t, h)
}

// A VM of the name of a guest that is none stays, and is in nobody's way: names are
// not unique.
func TestGuestForeign(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	intact := h.Plant(t, call.CE.Name+guestSuffix)
	platformtest.Do(t, h, platformtest.StartGuest, platformtest.FindGuest, platformtest.RemoveGuest)
	platformtest.Clean(t, h)
	if !intact() {
		t.Error("it is not intact")
	}
}
