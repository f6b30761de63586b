package vsphere

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

// KeepOutputDisk implements platforms.OutputDisks.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	found := false
	err := d.withCE(ctx, ce, func(s *site, v *vm) (bool, error) {
		found = true
		n, err := s.parseDiskName(name)
		if err != nil {
			return false, err
		}
		return d.keepOutputDisk(ctx, s, v, n)
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return d.fail("keep output disk of", ce, err)
}

// keepOutputDisk takes the disk a step closer to being complete.
func (d *Driver) keepOutputDisk(ctx context.Context, s *site, v *vm, n diskName) (kept bool, err error) {
	r, known, err := v.record(n)
	switch {
	case err != nil:
		return false, err
	case !known:
		return false, platforms.Errorf(platforms.NotFound, "the CE has no output disk %s", n)
	case r.State == stateKept:
		return true, nil
	case v.extra[keyEnding] != "":
		return false, platforms.Errorf(platforms.Busy, "the CE is being removed")
	}
	if disk, attached := v.disk(r.Partial); attached {
		err := d.vacant(ctx, n) // while nothing is lost
		if err == nil {
			err = d.detach(ctx, v, r, disk)
		}
		if platforms.KindOf(err) == platforms.Foreign {
			// Another call of this verb may have been faster.
			if now, lookErr := d.lookCE(ctx, s, v.name); lookErr == nil && now != nil {
				if _, attached := now.disk(r.Partial); !attached {
					err = nil
				}
			}
		}
		return false, err
	}
	if err := d.name(ctx, s, v, r, n); err != nil {
		return false, err
	}
	r.State = stateKept
	return false, d.write(ctx, v, r)
}

// detach takes the disk from the CE, and records that, in one task.
func (d *Driver) detach(ctx context.Context, v *vm, r record, disk disk) error {
	r.State = stateDetached
	recorded, err := settings(r)
	if err != nil {
		return err
	}
	err = d.reconfigure(ctx, v, types.VirtualMachineConfigSpec{
		ExtraConfig: recorded,
		// Without a file operation the files stay.
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk.device,
		}},
	})
	if err != nil {
		return fmt.Errorf("detach %s: %w", r.Partial, err)
	}
	return nil
}

func (d *Driver) write(ctx context.Context, v *vm, r record) error {
	recorded, err := settings(r)
	if err != nil {
		return err
	}
	return d.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: recorded})
}

// name moves the detached disk to where it belongs. If it is not there under
// its partial name any more, and something is under the other, then that is the
// disk: nobody else knows the partial name. In the middle of a move by another
// call both names are there.
func (d *Driver) name(ctx context.Context, s *site, v *vm, r record, n diskName) error {
	partial, named := n.partial(v.name).base(), n.base()
	dc := object.NewDatacenter(d.client, s.datacenter.ref)
	pause := d.pauses
	for look := 1; ; look++ {
		there, err := d.files(ctx, n, partial, named, n.flat())
		switch isPartial, isNamed := slices.Contains(there, partial), slices.Contains(there, named); {
		case err != nil:
			return err
		case !isPartial && isNamed:
			return nil
		case !isPartial:
			return platforms.Errorf(platforms.NotFound, "output disk %s: it is gone, and %s as well", n, r.Partial)
		case len(there) > 1 && look >= looks:
			return platforms.Errorf(platforms.Foreign, "output disk %s: there is a file of that name now; the disk is still %s", n, r.Partial)
		case len(there) == 1:
			_, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) {
				return object.NewVirtualDiskManager(d.client).MoveVirtualDisk(ctx, r.Partial, dc, n.String(), dc, false)
			})
			switch faultOf(err).(type) {
			case nil:
				return err
			case *types.FileNotFound, *types.FileAlreadyExists, *types.FileLocked:
				if look >= looks {
					return fmt.Errorf("name %s: %w", n, err)
				}
			default:
				return fmt.Errorf("name %s: %w", n, err)
			}
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}
