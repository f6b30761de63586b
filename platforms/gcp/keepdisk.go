package gcp

import (
	"context"
	"fmt"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// KeepOutputDisk implements platforms.OutputDisks. Disks cannot be renamed: the
// disk is detached, copied by the cloud to its final name, and then deleted. The
// copy carries the marks of what it is a copy of, so that whoever comes later
// knows how far it got.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	found := false
	err := d.withCE(ctx, ce, func(v *vm) (bool, error) {
		found = true
		if !namePattern.MatchString(name) {
			return false, platforms.Errorf(platforms.BadRequest, "output disk %q: that is no disk's name", name)
		}
		return d.keepOutputDisk(ctx, v, name)
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return d.fail("keep output disk of", ce, err)
}

// isCopyOf reports whether the disk is the kept one of the output of that record.
func (x *disk) isCopyOf(r record) bool {
	return x.GetLabels()[labelKept] == r.CE && x.CE == r.CE && x.Output == r.Output && x.GetName() == r.Output
}

// keepOutputDisk takes the disk a step closer to being complete.
func (d *Driver) keepOutputDisk(ctx context.Context, v *vm, name string) (kept bool, err error) {
	// In this order: if both are gone, no other call has just put one for the other.
	from, err := d.getDisk(ctx, v.zone, partialName(v.GetName(), name))
	if err != nil {
		return false, err
	}
	final, err := d.getDisk(ctx, v.zone, name)
	if err != nil {
		return false, err
	}
	r := record{CE: v.GetName(), Output: name}
	switch {
	case from != nil && (from.CE != r.CE || from.Output != r.Output):
		return false, platforms.Errorf(platforms.NotFound, "the CE has no output disk %s: somebody else made %s", name, from.GetName())
	case final == nil && from == nil:
		return false, platforms.Errorf(platforms.NotFound, "the CE has no output disk %s", name)
	case final == nil:
		return false, d.detachOrCopy(ctx, v, from, name)
	case !final.isCopyOf(r):
		return false, platforms.Errorf(platforms.Foreign, "there is a disk %s; the output is still %s", d.place.path(v.zone, "disks", name), partialName(v.GetName(), name))
	case final.GetStatus() == diskFailed && from != nil:
		return false, d.deleteDisk(ctx, v.zone, name)
	case final.GetStatus() != diskReady:
		return false, fmt.Errorf("disk %s is %s: %w", name, final.GetStatus(), patience.ErrContended)
	case from == nil:
		return true, nil
	case len(from.GetUsers()) > 0:
		// It was read before another call detached it, or somebody has attached it.
		return false, fmt.Errorf("disk %s is complete, and %s, which it was copied from, is attached to %s: %w",
			name, from.GetName(), lastName(from.GetUsers()[0]), patience.ErrContended)
	}
	return false, d.deleteDisk(ctx, v.zone, from.GetName())
}

// detachOrCopy detaches the disk, or copies the detached one to its final name.
func (d *Driver) detachOrCopy(ctx context.Context, v *vm, from *disk, name string) error {
	if attached := v.disk(from.GetName()); attached != nil {
		op, err := d.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{
			Project: d.place.project, Zone: v.zone, Instance: v.GetName(), DeviceName: attached.GetDeviceName(), RequestId: d.requestID(),
		})
		if err := d.inZone(ctx, v.zone, op, err); err != nil {
			return fmt.Errorf("detach %s: %w", from.GetName(), detached(err))
		}
		return nil
	}
	switch {
	case len(from.GetUsers()) > 0:
		return fmt.Errorf("disk %s is attached to %s: %w", from.GetName(), lastName(from.GetUsers()[0]), patience.ErrContended)
	case from.GetLastDetachTimestamp() == "":
		// Nothing was ever written to it.
		return platforms.Errorf(platforms.NotFound, "output disk %s: the CE never had it", name)
	case from.GetStatus() != diskReady:
		return fmt.Errorf("disk %s is %s: %w", from.GetName(), from.GetStatus(), patience.ErrContended)
	}
	op, err := d.disks.Insert(ctx, &computepb.InsertDiskRequest{
		Project: d.place.project, Zone: v.zone, RequestId: d.requestID(),
		DiskResource: &computepb.Disk{
			Name: proto.String(name), SourceDisk: proto.String(d.place.path(v.zone, "disks", from.GetName())), Type: d.diskTypePath(v.zone),
			Labels: from.keptLabels(), Description: from.Description, GuestOsFeatures: from.GuestOsFeatures,
		},
	})
	err = d.inZone(ctx, v.zone, op, err)
	switch {
	case isTaken(err):
		return nil // the next look tells whose it is
	case err != nil:
		return fmt.Errorf("copy %s to %s: %w", from.GetName(), name, vanished(err))
	}
	return nil
}

// detached says of an error that means that the disk is not attached any more
// that somebody else is at work.
func detached(err error) error {
	if isNotFound(err) || isHTTP(err, 400, "invalid") {
		return contended(err)
	}
	return err
}
