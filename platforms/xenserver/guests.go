package xenserver

import (
	"context"
	"errors"
	"fmt"

	"imageport/job"
	"imageport/platforms"
)

// WorkingDisk implements platforms.Guests.
func (d *Driver) WorkingDisk(ce string) platforms.OutputDisk {
	return platforms.OutputDisk{Name: ce + " work"}
}

const (
	maxGuestCPUs = 64
	// maxGuestMemoryMB is 1.5 TiB, what XenServer gives a VM at most.
	maxGuestMemoryMB = 1536 << 10
)

// wantGuest refuses what cannot be made. The model of a network card is not
// looked at: cards have the model of the pool, and none is without a network, so
// that a guest has no card.
func wantGuest(g platforms.Guest) error {
	refuse := func(format string, args ...any) error {
		return platforms.Errorf(platforms.BadRequest, "guest of %q: %s", g.Disk, fmt.Sprintf(format, args...))
	}
	if err := checkName(g.Disk); err != nil {
		return refuse("%s", err)
	}
	switch {
	case deviceModels[g.Firmware] == "":
		return refuse("firmware %q: want %s or %s", g.Firmware, job.BIOS, job.UEFI)
	// A disk is there as an emulated one and as Xen's own: Windows takes what it
	// has a driver for.
	case g.Controller != "" && g.Controller != job.XenBD && g.Controller != job.AHCI:
		return refuse("XenServer has no controller %q", g.Controller)
	case g.MemoryMB <= 0 || g.MemoryMB > maxGuestMemoryMB:
		return refuse("%d MiB of memory: want 1 to %d", g.MemoryMB, maxGuestMemoryMB)
	case g.CPUs < 1 || g.CPUs > maxGuestCPUs:
		return refuse("%d processors: want 1 to %d", g.CPUs, maxGuestCPUs)
	}
	return nil
}

// CheckGuest implements platforms.Guests.
func (d *Driver) CheckGuest(ctx context.Context, guest platforms.Guest) error {
	return d.fail("check the guest of", guest.Disk, d.checkGuest(ctx, guest))
}

func (d *Driver) checkGuest(ctx context.Context, guest platforms.Guest) error {
	if err := wantGuest(guest); err != nil {
		return err
	}
	sr, err := d.repository(ctx)
	if err != nil {
		return err
	}
	if err := d.checkPermissions(ctx, forGuest); err != nil {
		return err
	}
	return d.checkHosts(ctx, sr, "the guest", int64(guest.MemoryMB)*mib)
}

// StartGuest implements platforms.Guests.
func (d *Driver) StartGuest(ctx context.Context, ce string, guest platforms.Guest) (platforms.GuestState, error) {
	var state platforms.GuestState
	start := guestStart{d: d, guest: guest}
	found, err := d.withCE(ctx, ce, func(v *vm) (bool, error) {
		g, err := start.step(ctx, v)
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
	err := d.withGuest(ctx, ce, func(g *vm) (bool, error) {
		state = g.guestState(d.address)
		return true, nil
	})
	if err == nil && state.Ref == "" {
		err = platforms.Errorf(platforms.NotFound, "it has no guest: %w", platforms.ErrNotFound)
	}
	if err != nil {
		return platforms.GuestState{}, d.fail("find the guest of", ce, err)
	}
	return state, nil
}

// errNoConsole says why there is no picture.
var errNoConsole = errors.New("XenServer shows consoles to those only who look at them all the time")

// GuestScreen implements platforms.Guests. There is none: a pool gives a stream of
// the VNC protocol, and no picture.
func (d *Driver) GuestScreen(ctx context.Context, ce string) ([]byte, error) {
	_, err := d.FindGuest(ctx, ce)
	if err == nil {
		err = platforms.Errorf(platforms.BadRequest, "the guest of %s: %w: %w", ce, platforms.ErrNoScreen, errNoConsole)
	}
	return nil, err
}

// StopGuest implements platforms.Guests.
func (d *Driver) StopGuest(ctx context.Context, ce string) error {
	return d.fail("stop the guest of", ce, d.withGuest(ctx, ce, func(g *vm) (bool, error) { return true, d.powerOff(ctx, g) }))
}

// RemoveGuest implements platforms.Guests. The pool leaves the disks of a VM that
// it removes.
func (d *Driver) RemoveGuest(ctx context.Context, ce string) error {
	err := checkCEName(ce)
	if err == nil {
		err = d.patiently(ctx, func() (bool, error) {
			err := d.dropGuests(ctx, ce)
			return err == nil, err
		})
	}
	return d.fail("remove the guest of", ce, err)
}
