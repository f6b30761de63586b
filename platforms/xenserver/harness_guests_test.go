package xenserver

import (
	"testing"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

func (h *harness) Guest(n int) platforms.Guest {
	return platforms.Guest{
		Disk: h.OutputDisk(n).Name, Firmware: job.UEFI, Controller: job.XenBD, WindowsBuild: 19045, MemoryMB: 64, CPUs: 1, NIC: "vmxnet3",
	}
}

// guests gives the VMs that were made to be the guest of the CE, also those that are
// not.
func (h *harness) guests(t testing.TB, ce string) []*vm {
	t.Helper()
	var all []*vm
	for _, v := range h.allVMs(t) {
		if v.isGuest(ce) {
			all = append(all, v)
		}
	}
	return all
}

func (h *harness) GuestsOn(t testing.TB, ce string) int {
	t.Helper()
	n := 0
	for _, v := range h.guests(t, ce) {
		if v.on() {
			n++
		}
	}
	return n
}

// SwitchOff is what a pool does with a VM that has ended, see actions_after_shutdown.
func (h *harness) SwitchOff(t testing.TB, ce string) {
	t.Helper()
	for _, v := range h.guests(t, ce) {
		if v.on() {
			h.admin(t, "VM.hard_shutdown", nil, v.ref)
		}
	}
}

// SwitchOff has the guest itself do it.
func (h *simHarness) SwitchOff(t testing.TB, ce string) {
	t.Helper()
	h.lab.GuestEnded(ce + guestSuffix)
}

func (h *harness) LoseCE(t testing.TB, ce string) {
	t.Helper()
	h.admin(t, "VM.destroy", nil, h.ceVM(t, ce).ref)
}

func (h *simHarness) WriteGuest(t testing.TB, ce string, at int64, b []byte) {
	t.Helper()
	var vdi xapi.Ref
	for _, v := range h.guests(t, ce) {
		disks, err := h.eye.vbds(t.Context(), v.VBDs)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range disks {
			if b.Attached {
				vdi = b.VDI
			}
		}
	}
	platformtest.WriteFile(t, h.file(t, vdi), at, b)
}
