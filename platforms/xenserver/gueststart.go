package xenserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"

	"imageport/platforms"
	"imageport/platforms/patience"
	"imageport/platforms/xenserver/xapi"
)

// bootDevice is the device of the disk that a guest starts from.
const bootDevice = "0"

// guestStart is one call of StartGuest.
type guestStart struct {
	d     *Driver
	guest platforms.Guest

	switched bool // this call has switched it on
	doubts   int
}

// step takes the CE a step closer to having its guest on. It gives the guest when
// there is nothing more to do.
func (c *guestStart) step(ctx context.Context, v *vm) (*vm, error) {
	if err := wantGuest(c.guest); err != nil {
		return nil, err
	}
	switch {
	case !v.elected():
		return nil, platforms.Errorf(platforms.Busy, "the CE is being made or removed")
	case v.Power != halted:
		return nil, platforms.Errorf(platforms.Busy, "the CE runs")
	}
	disk, err := c.disk(ctx, v)
	if err != nil {
		return nil, err
	}
	all, err := c.d.lookGuests(ctx, v.Name)
	if err != nil {
		return nil, err
	}
	// What somebody began to remove goes first, and what others made who came too
	// late for the election goes when that is over.
	n, last := v.Marks.lastGuest()
	at := slices.IndexFunc(all, func(g *vm) bool { return g.UUID == last && g.Marks[keyEnding] == "" })
	for i, g := range all {
		if g.Marks[keyEnding] != "" || at >= 0 && i != at {
			return nil, c.d.dropGuest(ctx, g)
		}
	}
	switch {
	case len(all) == 0:
		return nil, c.d.createGuest(ctx, v, c.guest, disk)
	case at < 0:
		return nil, c.d.electGuest(ctx, v, n+1, all[0])
	}
	return c.on(ctx, all[at], disk)
}

// disk gives the VDI of the CE's disk.
func (c *guestStart) disk(ctx context.Context, v *vm) (*vdi, error) {
	claims, err := v.Marks.claims()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(claims, func(claim claim) bool { return claim.Name == c.guest.Disk })
	if i < 0 {
		return nil, platforms.Errorf(platforms.NotFound, "the CE has no output disk %q", c.guest.Disk)
	}
	disk, err := c.d.findVDI(ctx, claims[i].VDI)
	if err == nil && (disk == nil || disk.Marks[keyKept] != "") {
		err = platforms.Errorf(platforms.NotFound, "output disk %q: its VDI %s is not the CE's any more", c.guest.Disk, claims[i].VDI)
	}
	return disk, err
}

// createGuest makes the VM, switched off, with all its marks, and no devices.
func (d *Driver) createGuest(ctx context.Context, v *vm, guest platforms.Guest, disk *vdi) error {
	m := v.Marks.of(v.UUID, roleGuest)
	m[keyGuestDisk] = disk.UUID
	h := hardware{
		memory: int64(guest.MemoryMB) * mib, cpus: guest.CPUs, firmware: guest.Firmware, onReboot: "restart",
		// What XenServer's templates of Windows have. The drivers of a Windows are bound
		// to the device's id.
		platform: map[string]string{
			"viridian": "true", "viridian_time_ref_count": "true", "viridian_reference_tsc": "true",
			"hpet": "true", "vga": "std", "videoram": "8", "device_id": "0002",
		},
	}
	record := h.record(v.Name+guestSuffix, "guest of a Compositing Engine of imageport, for the job "+m[keyJob], m)
	if err := d.client.Call(ctx, "VM.create", nil, record); err != nil {
		return fmt.Errorf("make the guest: %w", err)
	}
	return nil
}

// electGuest makes the VM the CE's n-th guest, if it has not got another one yet:
// several callers may each have made one, and a key can be added once only. Numbers
// never come again, so that what somebody saw a while ago misleads nobody.
func (d *Driver) electGuest(ctx context.Context, v *vm, n int, g *vm) error {
	if _, err := d.addMark(ctx, "VM", v.ref, keyGuest+strconv.Itoa(n), g.UUID); err != nil {
		return fmt.Errorf("record the guest: %w", err)
	}
	return nil
}

// on takes the guest a step closer to being on.
func (c *guestStart) on(ctx context.Context, g *vm, disk *vdi) (*vm, error) {
	switch {
	case g.Marks[keyGuestDisk] != disk.UUID:
		return nil, platforms.Errorf(platforms.BadRequest, "the CE has a guest of VDI %s already", g.Marks[keyGuestDisk])
	case g.Power != halted:
		return g, nil
	case g.Marks[keyStarted] != "":
		return c.started(g)
	}
	b, err := c.d.diskOf(ctx, g, disk.ref)
	if err != nil {
		return nil, err
	}
	if b == nil {
		err := c.d.createVBD(ctx, g, disk.ref, bootDevice, true)
		if err != nil && !is(err, "DEVICE_ALREADY_EXISTS") {
			return nil, fmt.Errorf("attach VDI %s to the guest: %w", disk.UUID, err)
		}
		return nil, nil
	}
	c.switched, err = c.d.switchOnGuest(ctx, g)
	return nil, err
}

// switchOnGuest switches the guest on, and marks it first: whoever finds the mark
// does not do it again, and of several callers one adds it. It is taken back where
// it is certain that the guest did not start.
func (d *Driver) switchOnGuest(ctx context.Context, g *vm) (switched bool, err error) {
	mark := d.now() + " " + rand.Text()[:8]
	if added, err := d.addMark(ctx, "VM", g.ref, keyStarted, mark); err != nil || !added {
		return false, err
	}
	called := ctx.Err() == nil
	if called {
		err = d.client.Run(ctx, "VM.start", g.ref, false, false)
	} else {
		err = ctx.Err()
	}
	if err == nil {
		return true, nil
	}
	if !called || ctx.Err() == nil && xapi.CodeOf(err) != "" {
		d.unmark(ctx, g, mark)
	}
	return false, fmt.Errorf("switch the guest on: %w", err)
}

// unmark takes a mark of ours back. If that fails, the guest counts as switched on.
func (d *Driver) unmark(ctx context.Context, g *vm, mark string) {
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer stop()
	now, err := d.readVM(longer, g.ref)
	if err == nil && now != nil && now.Marks[keyStarted] == mark && now.Power == halted {
		_ = d.client.Call(longer, "VM.remove_from_other_config", nil, g.ref, keyStarted)
	}
}

// looks is how often something must look the same to be that: with the default
// pauses, for some 6 seconds.
const looks = 8

// started gives a guest that is marked and off: it has been on, or somebody has
// just marked it, or was cut off right there. For the one in the middle it waits.
func (c *guestStart) started(g *vm) (*vm, error) {
	if c.switched {
		return g, nil
	}
	if len(g.Operations) == 0 {
		c.doubts++
	}
	if c.doubts < looks {
		return nil, fmt.Errorf("the guest may be about to start: %w", patience.ErrContended)
	}
	return g, nil
}
