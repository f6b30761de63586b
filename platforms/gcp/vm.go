package gcp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/iterator"

	"imageport/job/seed"
	"imageport/platforms"
)

// vm is an instance as it was read.
type vm struct {
	*computepb.Instance
	zone string
}

// The states of an instance that matter. Of all others it comes to one of these
// by itself.
const (
	statusRunning    = "RUNNING"
	statusTerminated = "TERMINATED" // off, with its disks
	statusSuspended  = "SUSPENDED"  // nothing of ours suspends
)

// isCE reports whether it is a CE of ours.
func (v *vm) isCE() bool {
	return seed.ValidName(v.GetName()) && v.GetLabels()[labelCE] == v.GetName() && item(v.Metadata, keyJob) != "" && item(v.Metadata, keyOwner) != ""
}

func (v *vm) created() time.Time { return parseTime(v.GetCreationTimestamp()) }

// parseTime reads the cloud's times, and gives the zero time for what is none.
func parseTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// instance gives what is known of the CE.
func (v *vm) instance(at place) platforms.Instance {
	in := platforms.Instance{
		Name: v.GetName(), Job: item(v.Metadata, keyJob), RunID: item(v.Metadata, keyRun), Owner: item(v.Metadata, keyOwner),
		State: platforms.Running, Created: v.created(), Ref: at.path(v.zone, "instances", v.GetName()),
	}
	switch v.GetStatus() {
	case "STOPPING", "STOPPED", statusTerminated, "SUSPENDING", statusSuspended, "DEPROVISIONING":
		in.State = platforms.Stopped
		in.Fault = strings.Join(strings.Fields(v.GetStatusMessage()), " ")
	}
	return in
}

// disk gives how a disk of the zone is attached, nil if it is not.
func (v *vm) disk(name string) *computepb.AttachedDisk {
	for _, d := range v.GetDisks() {
		if lastName(d.GetSource()) == name {
			return d
		}
	}
	return nil
}

// look looks for a CE in all zones, also in parts: somebody may have made one in
// each of two zones at the same time. The one that was made first is the first,
// and is the one that counts. What is not ours is given apart.
func (d *Driver) look(ctx context.Context, name string) (ours, foreign []*vm, err error) {
	for _, zone := range d.place.zones {
		in, err := d.instances.Get(ctx, &computepb.GetInstanceRequest{Project: d.place.project, Zone: zone, Instance: name})
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("look into zone %s: %w", zone, err)
		}
		if v := (&vm{in, zone}); v.isCE() {
			ours = append(ours, v)
		} else {
			foreign = append(foreign, v)
		}
	}
	slices.SortStableFunc(ours, func(a, b *vm) int { return a.created().Compare(b.created()) })
	return ours, foreign, nil
}

// withCE calls do with the CE until that is done, or there is no CE.
func (d *Driver) withCE(ctx context.Context, name string, do func(*vm) (done bool, err error)) error {
	if err := validName(name); err != nil {
		return err
	}
	return d.patiently(ctx, func() (bool, error) {
		found, _, err := d.look(ctx, name)
		if err != nil || len(found) == 0 {
			return err == nil, err
		}
		return do(found[0])
	})
}

func validName(name string) error {
	if !seed.ValidName(name) {
		return platforms.Errorf(platforms.BadRequest, "%q is no name for a CE (ce- and 12 hexadecimal digits)", name)
	}
	return nil
}

// allVMs gives all CEs in the zones.
func (d *Driver) allVMs(ctx context.Context) ([]*vm, error) {
	var all []*vm
	for _, zone := range d.place.zones {
		next := d.instances.List(ctx, &computepb.ListInstancesRequest{Project: d.place.project, Zone: zone, Filter: filterCE("")})
		for {
			in, err := next.Next()
			if err == iterator.Done {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("instances of zone %s: %w", zone, err)
			}
			if v := (&vm{in, zone}); v.isCE() {
				all = append(all, v)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *vm) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), a.created().Compare(b.created()))
	})
	return all, nil
}

// disk is a disk as it was read.
type disk struct {
	*computepb.Disk
	record
	zone string
}

// ceDisks gives the disks that go with a CE, or with any if name is "": its own,
// and the outputs that are not complete.
func (d *Driver) ceDisks(ctx context.Context, name string) ([]*disk, error) {
	var all []*disk
	for _, zone := range d.place.zones {
		next := d.disks.List(ctx, &computepb.ListDisksRequest{Project: d.place.project, Zone: zone, Filter: filterCE(name)})
		for {
			found, err := next.Next()
			if err == iterator.Done {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("disks of zone %s: %w", zone, err)
			}
			r, ok := recordOf(found)
			if ok && seed.ValidName(r.CE) && found.GetLabels()[labelCE] == r.CE {
				all = append(all, &disk{found, r, zone})
			}
		}
	}
	return all, nil
}

// getDisk gives a disk, nil if there is none.
func (d *Driver) getDisk(ctx context.Context, zone, name string) (*disk, error) {
	found, err := d.disks.Get(ctx, &computepb.GetDiskRequest{Project: d.place.project, Zone: zone, Disk: name})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", name, err)
	}
	r, _ := recordOf(found)
	return &disk{found, r, zone}, nil
}

// deleteVM deletes an instance and the disks that go with it. That it is gone
// already is a success.
func (d *Driver) deleteVM(ctx context.Context, v *vm) error {
	op, err := d.instances.Delete(ctx, &computepb.DeleteInstanceRequest{
		Project: d.place.project, Zone: v.zone, Instance: v.GetName(), RequestId: d.requestID(),
	})
	if err := d.inZone(ctx, v.zone, op, err); err != nil && !isNotFound(err) {
		return fmt.Errorf("delete instance %s in %s: %w", v.GetName(), v.zone, err)
	}
	return nil
}

// deleteDisk deletes a disk. That it is gone already is a success.
func (d *Driver) deleteDisk(ctx context.Context, zone, name string) error {
	op, err := d.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: d.place.project, Zone: zone, Disk: name, RequestId: d.requestID()})
	if err := d.inZone(ctx, zone, op, err); err != nil && !isNotFound(err) {
		return fmt.Errorf("delete disk %s in %s: %w", name, zone, err)
	}
	return nil
}
