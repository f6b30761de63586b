package gcp

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// Stop implements platforms.Driver.
func (d *Driver) Stop(ctx context.Context, name string) error {
	return d.fail("stop", name, d.stop(ctx, name))
}

func (d *Driver) stop(ctx context.Context, name string) error {
	if err := validName(name); err != nil {
		return err
	}
	return d.patiently(ctx, func() (bool, error) {
		found, _, err := d.look(ctx, name)
		if err != nil {
			return false, err
		}
		for _, v := range found {
			switch v.GetStatus() {
			case statusTerminated, statusSuspended:
				continue
			case statusRunning:
				return false, d.powerOff(ctx, v)
			}
			return false, fmt.Errorf("the instance in zone %s is %s: %w", v.zone, v.GetStatus(), patience.ErrContended)
		}
		return true, nil
	})
}

// powerOff switches an instance off.
func (d *Driver) powerOff(ctx context.Context, v *vm) error {
	op, err := d.instances.Stop(ctx, &computepb.StopInstanceRequest{
		Project: d.place.project, Zone: v.zone, Instance: v.GetName(), RequestId: d.requestID(),
	})
	if err := d.inZone(ctx, v.zone, op, err); err != nil {
		return fmt.Errorf("switch it off in zone %s: %w", v.zone, vanished(err))
	}
	return nil
}

// Destroy implements platforms.Driver. With an instance go the disks that are
// attached: one call does both, and no crash can come in between. What is then
// left of the CE are disks that were not attached.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	err := validName(name)
	if err == nil {
		err = d.patiently(ctx, func() (bool, error) {
			found, _, err := d.look(ctx, name)
			if err != nil {
				return false, err
			}
			if len(found) == 0 {
				return true, d.removeLeftovers(ctx, name)
			}
			return false, d.deleteVM(ctx, found[0])
		})
	}
	return d.fail("destroy", name, err)
}

// removeLeftovers removes the disks of a CE that has no instance. They are read
// before it is known that there is none: those of one that comes into being
// meanwhile are not among them.
func (d *Driver) removeLeftovers(ctx context.Context, name string) error {
	left, err := d.ceDisks(ctx, name)
	if err != nil || len(left) == 0 {
		return err
	}
	if found, _, err := d.look(ctx, name); err != nil {
		return err
	} else if len(found) > 0 {
		return fmt.Errorf("somebody makes the CE: %w", patience.ErrContended)
	}
	for _, disk := range left {
		if disk.Output != "" {
			if err := d.settleCopy(ctx, disk); err != nil {
				return err
			}
		}
		if err := d.deleteDisk(ctx, disk.zone, disk.GetName()); err != nil {
			return err
		}
	}
	return nil
}

// settleCopy waits for a copy of the disk, which another call has begun to make
// under its final name, so that it does not lose what it is copied from. A copy
// that failed is removed.
func (d *Driver) settleCopy(ctx context.Context, from *disk) error {
	final, err := d.getDisk(ctx, from.zone, from.Output)
	if err != nil || final == nil || !final.isCopyOf(from.record) {
		return err
	}
	switch final.GetStatus() {
	case diskReady:
		return nil
	case diskFailed:
		return d.deleteDisk(ctx, final.zone, final.GetName())
	}
	return fmt.Errorf("disk %s is being copied to %s: %w", from.GetName(), from.Output, patience.ErrContended)
}

// Find implements platforms.Driver.
func (d *Driver) Find(ctx context.Context, name string) (platforms.Instance, error) {
	in, err := d.find(ctx, name)
	if err != nil {
		return platforms.Instance{}, d.fail("find", name, err)
	}
	return in, nil
}

func (d *Driver) find(ctx context.Context, name string) (in platforms.Instance, err error) {
	found := false
	err = d.withCE(ctx, name, func(v *vm) (bool, error) {
		in, found = v.instance(d.place), true
		return true, nil
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return in, err
}

// List implements platforms.Driver. It gives the CEs in the zones of the request.
// A CE of which there are only disks is Stopped.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) {
	list, err := d.list(ctx)
	if err != nil {
		return nil, d.fail("list", "CEs", err)
	}
	return list, nil
}

func (d *Driver) list(ctx context.Context) ([]platforms.Instance, error) {
	vms, err := d.allVMs(ctx)
	if err != nil {
		return nil, err
	}
	disks, err := d.ceDisks(ctx, "")
	if err != nil {
		return nil, err
	}
	var list []platforms.Instance
	known := make(map[string]bool)
	add := func(in platforms.Instance) {
		if !known[in.Name] {
			known[in.Name] = true
			list = append(list, in)
		}
	}
	for _, v := range vms {
		add(v.instance(d.place))
	}
	for _, disk := range disks {
		add(platforms.Instance{
			Name: disk.CE, Job: disk.Job, RunID: disk.Run, Owner: disk.Owner, State: platforms.Stopped,
			Created: parseTime(disk.GetCreationTimestamp()), Ref: d.place.path(disk.zone, "disks", disk.GetName()),
		})
	}
	slices.SortFunc(list, func(a, b platforms.Instance) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
