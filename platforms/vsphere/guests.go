package vsphere

import (
	"cmp"
	"context"
	"fmt"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
)

// WorkingDisk implements platforms.Guests. It is in the directory that the CE's
// VM has in the datastore of the request: there, a disk can be on any datastore,
// also on vSAN and vVols, and no directory is left behind.
func (d *Driver) WorkingDisk(ce string) platforms.OutputDisk {
	return platforms.OutputDisk{Name: fmt.Sprintf("[%s] %s/work%s", d.where.VSphere.Datastore, ce, diskExtension)}
}

const (
	maxGuestCPUs = 768
	// maxGuestMemoryMB is 24 TiB, what a VM of hardware version 18 has at most.
	maxGuestMemoryMB = 24 << 20
)

// wantedGuest is a guest, checked as far as that needs no other call.
type wantedGuest struct {
	platforms.Guest
	disk diskName
}

func (s *site) wantGuest(g platforms.Guest) (want wantedGuest, err error) {
	refuse := func(format string, args ...any) (wantedGuest, error) {
		return wantedGuest{}, platforms.Errorf(platforms.BadRequest, "guest of %q: %s", g.Disk, fmt.Sprintf(format, args...))
	}
	g.Controller = cmp.Or(g.Controller, job.AHCI)
	switch {
	case firmwares[g.Firmware] == "":
		return refuse("firmware %q: want %s or %s", g.Firmware, job.BIOS, job.UEFI)
	case newDiskController(g.Controller, firstBusNumber) == nil:
		return refuse("vSphere has no controller %q", g.Controller)
	case g.MemoryMB <= 0 || g.MemoryMB > maxGuestMemoryMB || g.MemoryMB%4 != 0:
		return refuse("%d MiB of memory: want 4 to %d, a multiple of 4", g.MemoryMB, maxGuestMemoryMB)
	case g.CPUs < 1 || g.CPUs > maxGuestCPUs:
		return refuse("%d processors: want 1 to %d", g.CPUs, maxGuestCPUs)
	case g.NIC != "" && newCard(g.NIC) == nil:
		return refuse("vSphere has no network card %q", g.NIC)
	}
	n, err := s.parseDiskName(g.Disk)
	return wantedGuest{g, n}, err
}

// newCard gives a network card of that model, or nil if vSphere has none.
func newCard(model string) types.BaseVirtualEthernetCard {
	switch model {
	case "vmxnet3":
		return new(types.VirtualVmxnet3)
	case "e1000e":
		return new(types.VirtualE1000e)
	case "e1000":
		return new(types.VirtualE1000)
	}
	return nil
}

// CheckGuest implements platforms.Guests.
func (d *Driver) CheckGuest(ctx context.Context, guest platforms.Guest) error {
	return d.fail("check the guest of", guest.Disk, d.checkGuest(ctx, guest))
}

func (d *Driver) checkGuest(ctx context.Context, guest platforms.Guest) error {
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	want, err := s.wantGuest(guest)
	if err != nil {
		return err
	}
	if err := d.checkPrivileges(ctx, s, nil, forGuest); err != nil {
		return err
	}
	return s.checkCapacity("the guest", want.MemoryMB)
}

// StartGuest implements platforms.Guests.
func (d *Driver) StartGuest(ctx context.Context, ce string, guest platforms.Guest) (platforms.GuestState, error) {
	var state platforms.GuestState
	start := guestStart{d: d, guest: guest}
	found := false
	err := d.withCE(ctx, ce, func(s *site, v *vm) (bool, error) {
		found = true
		g, err := start.step(ctx, s, v)
		if err != nil || g == nil {
			return false, err
		}
		state = g.guestState(d.address)
		return true, nil
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	if err != nil {
		return platforms.GuestState{}, d.fail("start the guest of", ce, err)
	}
	return state, nil
}

// FindGuest implements platforms.Guests.
func (d *Driver) FindGuest(ctx context.Context, ce string) (platforms.GuestState, error) {
	var state platforms.GuestState
	err := d.withSomeGuest(ctx, ce, func(_ *site, g *vm) (bool, error) {
		state = g.guestState(d.address)
		return true, nil
	})
	if err != nil {
		return platforms.GuestState{}, d.fail("find the guest of", ce, err)
	}
	return state, nil
}

// StopGuest implements platforms.Guests.
func (d *Driver) StopGuest(ctx context.Context, ce string) error {
	return d.fail("stop the guest of", ce, d.withGuest(ctx, ce, func(_ *site, g *vm) (bool, error) {
		return true, d.powerOff(ctx, g)
	}))
}

// RemoveGuest implements platforms.Guests. If the CE is gone, nobody knows of the
// disk any more, and that goes, too.
func (d *Driver) RemoveGuest(ctx context.Context, ce string) error {
	return d.fail("remove the guest of", ce, d.removeGuest(ctx, ce))
}

func (d *Driver) removeGuest(ctx context.Context, ce string) error {
	return d.withGuest(ctx, ce, func(s *site, g *vm) (bool, error) {
		v, err := d.lookCE(ctx, s, ce)
		if err != nil {
			return false, err
		}
		return false, d.dropGuest(ctx, g, v != nil)
	})
}
