package vsphere

import (
	"context"
	"os"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
)

func (h *harness) Guest(n int) platforms.Guest {
	return platforms.Guest{
		Disk: h.OutputDisk(n).Name, Firmware: job.UEFI, Controller: job.PVSCSI, WindowsBuild: 19045, MemoryMB: 32, CPUs: 1, NIC: "vmxnet3",
	}
}

func (h *harness) GuestsOn(t testing.TB, ce string) int {
	t.Helper()
	n := 0
	for _, v := range h.allVMs(t) {
		if v.extra[keyGuest] == ce && !v.off() {
			n++
		}
	}
	return n
}

func (h *harness) SwitchOff(t testing.TB, ce string) {
	t.Helper()
	if h.lab == nil {
		h.Kill(t, ce+guestSuffix)
		return
	}
	h.lab.GuestEnded(ce + guestSuffix)
}

// LoseCE takes the disk from the VM first, as vSphere does for another's.
func (h *harness) LoseCE(t testing.TB, name string) {
	t.Helper()
	ce := h.ceVM(t, name)
	h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) {
		return ce.object(d).Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: ce.disks()[1].device},
		}})
	})
	h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) { return ce.object(d).Destroy(ctx) })
}

func (h *simHarness) WriteGuest(t testing.TB, ce string, at int64, b []byte) {
	t.Helper()
	h.WriteDisk(t, ce, platforms.OutputDiskRef{Ref: h.ceVM(t, ce+guestSuffix).disks()[0].file}, at, b)
}

// exists reports whether there is a file in a datastore.
func (h *simHarness) exists(t testing.TB, name string) bool {
	t.Helper()
	_, err := os.Stat(h.file(t, name))
	return err == nil
}
