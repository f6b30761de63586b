package vsphere

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// guestStart is one call of StartGuest.
type guestStart struct {
	d     *Driver
	guest platforms.Guest

	switched bool // this call has switched it on
	doubts   int
}

// step takes the CE a step closer to having its guest on. It gives the guest when
// there is nothing more to do.
func (c *guestStart) step(ctx context.Context, s *site, v *vm) (*vm, error) {
	want, err := s.wantGuest(c.guest)
	if err != nil {
		return nil, err
	}
	r, known, err := v.record(want.disk)
	switch {
	case err != nil:
		return nil, err
	case v.extra[keyEnding] != "":
		return nil, platforms.Errorf(platforms.Busy, "the CE is being removed")
	case !v.off():
		return nil, platforms.Errorf(platforms.Busy, "the CE runs")
	case !known || r.State != stateAttached:
		return nil, platforms.Errorf(platforms.NotFound, "the CE has no output disk %s", want.disk)
	}
	if _, attached := v.disk(r.Partial); !attached {
		return nil, platforms.Errorf(platforms.NotFound, "output disk %s: somebody detached it from the CE", r.Partial)
	}
	g, err := c.d.lookGuest(ctx, s, v.name)
	switch {
	case err != nil:
		return nil, err
	case g == nil:
		return nil, c.d.createGuest(ctx, s, v, want, r.Partial)
	case g.extra[keyEnding] != "":
		return nil, c.d.dropGuest(ctx, g, true) // what somebody began
	case g.extra[keyGuestDisk] != r.Partial:
		return nil, platforms.Errorf(platforms.BadRequest, "the CE has a guest of %s already", g.extra[keyGuestDisk])
	case !g.off():
		return g, nil
	case g.extra[keyStarted] != "":
		return c.started(ctx, s, v, g)
	}
	c.switched, err = c.d.switchOnGuest(ctx, g)
	return nil, err
}

// createGuest makes the VM, switched off, with all its marks. The disk has the
// CE's mode: a snapshot of the guest is not to become a part of it either.
func (d *Driver) createGuest(ctx context.Context, s *site, v *vm, want wantedGuest, disk string) error {
	host, err := s.host(v.name)
	if err != nil {
		return err
	}
	w := windowsVM{
		name: v.name + guestSuffix, build: want.WindowsBuild, server: want.Server, firmware: want.Firmware, controller: want.Controller,
		disk: want.disk.partial(v.name), mode: types.VirtualDiskModeIndependent_persistent,
		home: s.datastore, cpus: want.CPUs, memoryMB: want.MemoryMB,
		marks: options(keyGuest, v.name, keyGuestDisk, disk,
			keyJob, v.extra[keyJob], keyRun, v.extra[keyRun], keyOwner, v.extra[keyOwner], keyCreated, d.p.now()),
	}
	if want.NIC != "" {
		if w.nic, err = d.unconnected(ctx, s, want.NIC); err != nil {
			return err
		}
	}
	folder, err := d.findFolder(ctx, s)
	if err != nil || folder == nil {
		return err // if it is gone, so is the CE
	}
	if err := d.makeWindowsVM(ctx, s, *folder, host, w); err != nil {
		return fmt.Errorf("make the guest: %w", err)
	}
	return nil
}

// unconnected gives a network card that is there and has no cable.
func (d *Driver) unconnected(ctx context.Context, s *site, model string) (*types.VirtualDeviceConfigSpec, error) {
	backing, err := d.backing(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", s.network.name, err)
	}
	card := newCard(model)
	c := card.GetVirtualEthernetCard()
	c.AddressType, c.Backing = string(types.VirtualEthernetCardMacTypeGenerated), backing
	c.Connectable = &types.VirtualDeviceConnectInfo{}
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: card.(types.BaseVirtualDevice)}, nil
}

// switchOnGuest switches the guest on, and marks it first: whoever finds the mark
// does not do it again. The mark is set only on the guest as it was read, so that
// of several callers one does it. It is taken back where it is certain that the
// guest did not start.
func (d *Driver) switchOnGuest(ctx context.Context, g *vm) (switched bool, err error) {
	mark := d.p.now() + " " + rand.Text()[:8]
	err = d.reconfigure(ctx, g, types.VirtualMachineConfigSpec{ChangeVersion: g.version, ExtraConfig: options(keyStarted, mark)})
	called := false
	if err == nil {
		_, err = d.run(ctx, func(ctx context.Context) (*object.Task, error) {
			called = ctx.Err() == nil
			return g.object(d).PowerOn(ctx)
		})
	}
	if err == nil {
		return true, nil
	}
	if !called || ctx.Err() == nil && faultOf(err) != nil {
		d.unmark(ctx, g, mark)
	}
	return false, fmt.Errorf("switch the guest on: %w", err)
}

// unmark takes a mark of ours back. If that fails, the guest counts as switched on.
func (d *Driver) unmark(ctx context.Context, g *vm, mark string) {
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer stop()
	p, err := d.read(longer, g.ref, vmProperties...)
	if err != nil {
		return
	}
	if now := parseVM(g.ref, p); now.extra[keyStarted] == mark && now.off() {
		_ = d.reconfigure(longer, now, types.VirtualMachineConfigSpec{ChangeVersion: now.version, ExtraConfig: options(keyStarted, "")})
	}
}

// started gives a guest that is marked and off: it has been on, or somebody has
// just marked it, or was cut off right there. For the one in the middle it waits.
func (c *guestStart) started(ctx context.Context, s *site, v, g *vm) (*vm, error) {
	if c.switched {
		return g, nil
	}
	states, err := c.d.taskStates(ctx, g, "PowerOnVM_Task")
	if err != nil {
		return nil, err
	}
	if slices.Contains(states, types.TaskInfoStateSuccess) {
		return c.d.lookGuest(ctx, s, v.name) // that may have been since g was read
	}
	if slices.ContainsFunc(states, unfinished) {
		return nil, fmt.Errorf("the guest is being switched on: %w", patience.ErrContended)
	}
	if c.doubts++; c.doubts < looks {
		return nil, fmt.Errorf("the guest is off%w", errDoubtful)
	}
	return g, nil
}
