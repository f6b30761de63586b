package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job/seed"
	"imageport/platforms"
)

// The guest of a CE is a VM beside it, with a name made of the CE's, which is the
// lock again. It has the CE's marks, and these.
const (
	guestSuffix = "-guest"

	keyGuest = "imageport.guest" // name of the CE
	// keyGuestDisk is the datastore path of the disk that it shares with the CE.
	keyGuestDisk = "imageport.guest.disk"
	// keyStarted is there when it was switched on, or is about to be: the time, and
	// something by which the one who does it knows its own mark.
	keyStarted = "imageport.guest.started"
)

// guestOf gives the name of the CE whose guest the VM is, or "" if it is none.
func (v *vm) guestOf() string {
	ce := v.extra[keyGuest]
	if v.template || !seed.ValidName(ce) || v.name != ce+guestSuffix || v.extra[keyJob] == "" || v.extra[keyOwner] == "" {
		return ""
	}
	return ce
}

func (v *vm) guestState(address string) platforms.GuestState {
	return platforms.GuestState{
		On: !v.off(), Started: !v.off() || v.extra[keyStarted] != "", Ref: address + "/" + v.ref.Value, Fault: v.trouble,
	}
}

// lookGuest reads the guest of the CE; it is nil if there is none. It fails with
// Foreign if its name belongs to something else.
func (d *Driver) lookGuest(ctx context.Context, s *site, ce string) (*vm, error) {
	folder, err := d.findFolder(ctx, s)
	if err != nil || folder == nil {
		return nil, err
	}
	found, err := d.look(ctx, *folder, ce+guestSuffix)
	if err != nil || found == nil || found.guestOf() == ce {
		return found, err
	}
	return nil, d.foreign(ctx, found)
}

// withGuest calls do with the guest of the CE until that is done, or there is no
// guest. The CE need not be there.
func (d *Driver) withGuest(ctx context.Context, ce string, do func(*site, *vm) (done bool, err error)) error {
	if !seed.ValidName(ce) {
		return invalidName(ce)
	}
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	return d.patiently(ctx, func() (bool, error) {
		g, err := d.lookGuest(ctx, s, ce)
		if err != nil || g == nil {
			return err == nil, err
		}
		return do(s, g)
	})
}

// withSomeGuest is withGuest, but fails with NotFound if there is none.
func (d *Driver) withSomeGuest(ctx context.Context, ce string, do func(*site, *vm) (done bool, err error)) error {
	found := false
	err := d.withGuest(ctx, ce, func(s *site, g *vm) (bool, error) {
		found = true
		return do(s, g)
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "it has no guest: %w", platforms.ErrNotFound)
	}
	return err
}

// dropGuest removes a guest, with all that is attached to it or without: the disk
// is the CE's. A VM takes what is attached to it along, so that is detached first,
// in the same task that says that the guest is being removed.
func (d *Driver) dropGuest(ctx context.Context, g *vm, keep bool) error {
	if err := d.powerOff(ctx, g); err != nil {
		return err
	}
	var changes []types.BaseVirtualDeviceConfigSpec
	for _, disk := range g.disks() {
		if keep || disk.file != g.extra[keyGuestDisk] {
			changes = append(changes, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk.device})
		}
	}
	if len(changes) > 0 || g.extra[keyEnding] == "" {
		spec := types.VirtualMachineConfigSpec{ExtraConfig: options(keyEnding, d.p.now()), DeviceChange: changes}
		if err := d.reconfigure(ctx, g, spec); err != nil {
			return fmt.Errorf("detach the guest's disk: %w", err)
		}
	}
	if _, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) { return g.object(d).Destroy(ctx) }); err != nil {
		return fmt.Errorf("remove the guest: %w", err)
	}
	return nil
}

// refuseGuest fails with Busy if the CE has a guest.
func (d *Driver) refuseGuest(ctx context.Context, s *site, ce string) error {
	g, err := d.lookGuest(ctx, s, ce)
	if err == nil && g != nil {
		err = platforms.Errorf(platforms.Busy, "its guest is there (%s): remove that first", g.ref.Value)
	}
	return err
}
