package gcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/patience"
)

const (
	gib = 1 << 30
	// maxDiskBytes is what Compute Engine makes at most.
	maxDiskBytes = 64 << 40
)

// The states of a disk that matter.
const (
	diskReady  = "READY"
	diskFailed = "FAILED"
)

// wantedDisk is an output disk, checked as far as that needs no call.
type wantedDisk struct{ platforms.OutputDisk }

// reserved are the names that CEs and their disks have.
var reserved = regexp.MustCompile(`^ce-[0-9a-f]{12}(-|$)`)

func (d *Driver) wantDisk(o platforms.OutputDisk) (wantedDisk, error) {
	refuse := func(format string, args ...any) (wantedDisk, error) {
		return wantedDisk{}, platforms.Errorf(platforms.BadRequest, "output disk %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	if o.Provision == "" {
		o.Provision = job.ProvisionThin
	}
	switch {
	case !namePattern.MatchString(o.Name):
		return refuse("want a disk's name: up to 63 lower-case letters, digits and hyphens, a letter first and no hyphen last")
	case reserved.MatchString(o.Name):
		return refuse("names that begin like this are those of Compositing Engines")
	case o.Format != "":
		return refuse("format %q: a disk of Google Cloud has its own", o.Format)
	case o.SizeBytes <= 0 || o.SizeBytes%gib != 0 || o.SizeBytes > maxDiskBytes:
		return refuse("%d bytes: want whole GiB, up to %d TiB", o.SizeBytes, maxDiskBytes>>40)
	case o.Provision != job.ProvisionThin:
		return refuse("provision type %q: Google Cloud has %s only", o.Provision, job.ProvisionThin)
	case !hasSCSI(d.place.machine):
		return refuse("machine type %s of the CE: a CE finds its disk only as a SCSI disk; want one of the families %s", d.place.machine, strings.Join(scsiFamilies, ", "))
	}
	return wantedDisk{o}, nil
}

// partialName is the name of an output disk until it is complete.
func partialName(ce, name string) string {
	sum := sha256.Sum256([]byte(name))
	return ce + "-" + hex.EncodeToString(sum[:8])
}

// deviceName is what a guest sees of a disk: a designator of its own kind in SCSI's
// page 0x83 (SPC-4 7.8.5, type 0). It has the disk's own number: no two disks have
// the same one, also not one after the other.
func (x *disk) deviceName() string { return "imageport-" + strconv.FormatUint(x.GetId(), 10) }

// CheckOutputDisk implements platforms.OutputDisks. It looks for the name in all
// zones, because the CE may come to be in any.
func (d *Driver) CheckOutputDisk(ctx context.Context, o platforms.OutputDisk) error {
	want, err := d.wantDisk(o)
	if err == nil {
		err = d.checkPermissions(ctx, forOutputDisk)
	}
	if err == nil {
		err = d.vacant(ctx, want.Name)
	}
	return d.fail("check output disk", o.Name, err)
}

// vacant refuses a name that is taken in one of the zones.
func (d *Driver) vacant(ctx context.Context, name string) error {
	for _, zone := range d.place.zones {
		there, err := d.getDisk(ctx, zone, name)
		if err != nil {
			return err
		}
		if there != nil {
			return platforms.Errorf(platforms.Foreign, "there is a disk %s", d.place.path(zone, "disks", name))
		}
	}
	return nil
}

// AddOutputDisk implements platforms.OutputDisks. The disk is made with its marks,
// and then attached: one that was not attached goes with the CE all the same.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, o platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	var ref platforms.OutputDiskRef
	found := false
	err := d.withCE(ctx, ce, func(v *vm) (bool, error) {
		found = true
		want, err := d.wantDisk(o)
		if err != nil {
			return false, err
		}
		ref, err = d.addOutputDisk(ctx, v, want)
		return ref.Selector != "", err
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	if err != nil {
		return platforms.OutputDiskRef{}, d.fail("add output disk to", ce, err)
	}
	return ref, nil
}

// addOutputDisk takes the CE a step closer to having the disk. It gives the disk
// when it has it.
func (d *Driver) addOutputDisk(ctx context.Context, v *vm, want wantedDisk) (ref platforms.OutputDiskRef, err error) {
	if v.GetStatus() != statusRunning {
		return ref, platforms.Errorf(platforms.Busy, "the CE does not run")
	}
	name := partialName(v.GetName(), want.Name)
	x, err := d.getDisk(ctx, v.zone, name)
	switch {
	case err != nil:
		return ref, err
	case x == nil:
		return ref, d.makeDisk(ctx, v, name, want)
	case x.CE != v.GetName() || x.Output != want.Name:
		return ref, platforms.Errorf(platforms.Foreign, "there is a disk %s, which imageport did not make", d.place.path(v.zone, "disks", name))
	case x.SizeBytes != want.SizeBytes:
		return ref, platforms.Errorf(platforms.BadRequest, "output disk %s: the CE has one of %d bytes, want %d bytes", want.Name, x.SizeBytes, want.SizeBytes)
	case x.GetStatus() == diskFailed:
		return ref, d.deleteDisk(ctx, v.zone, name)
	case x.GetStatus() != diskReady:
		return ref, fmt.Errorf("disk %s is %s: %w", name, x.GetStatus(), patience.ErrContended)
	}
	if attached := v.disk(name); attached != nil {
		if attached.GetDeviceName() != x.deviceName() {
			return ref, platforms.Errorf(platforms.Foreign, "somebody has attached the disk %s in another way", name)
		}
		return platforms.OutputDiskRef{Selector: platforms.BySerial(x.deviceName()), Ref: d.place.path(v.zone, "disks", name)}, nil
	}
	switch {
	case len(x.GetUsers()) > 0:
		return ref, fmt.Errorf("disk %s is attached to %s: %w", name, lastName(x.GetUsers()[0]), patience.ErrContended)
	case x.GetLastDetachTimestamp() != "":
		// Between detaching and keeping, or by somebody's hand.
		return ref, platforms.Errorf(platforms.NotFound, "output disk %s: the disk %s was detached from the CE", want.Name, name)
	}
	return ref, d.attach(ctx, v, x)
}

// makeDisk makes the disk under its partial name, if its final name is free.
func (d *Driver) makeDisk(ctx context.Context, v *vm, name string, want wantedDisk) error {
	for _, zone := range d.place.zones {
		final, err := d.getDisk(ctx, zone, want.Name)
		switch {
		case err != nil:
			return err
		case final != nil && final.CE == v.GetName() && final.Output == want.Name:
			return platforms.Errorf(platforms.BadRequest, "output disk %s was kept already", want.Name)
		case final != nil:
			return platforms.Errorf(platforms.Foreign, "there is a disk %s", d.place.path(zone, "disks", want.Name))
		}
	}
	of := v.instance(d.place)
	r := record{CE: of.Name, Job: of.Job, Run: of.RunID, Owner: of.Owner, Output: want.Name, SizeBytes: want.SizeBytes}
	op, err := d.disks.Insert(ctx, &computepb.InsertDiskRequest{
		Project: d.place.project, Zone: v.zone, RequestId: d.requestID(),
		DiskResource: &computepb.Disk{
			Name: proto.String(name), SizeGb: proto.Int64(want.SizeBytes / gib), Type: d.diskTypePath(v.zone),
			Labels: r.labels(), Description: proto.String(r.String()), GuestOsFeatures: startsFrom(want.Firmware),
		},
	})
	if err := d.inZone(ctx, v.zone, op, err); isTaken(err) {
		return contended(err)
	} else if err != nil {
		return fmt.Errorf("make disk %s in zone %s: %w", name, v.zone, err)
	}
	return nil
}

// startsFrom is what an instance goes by that starts from the disk: Windows, and
// UEFI rather than a BIOS.
func startsFrom(firmware job.Firmware) []*computepb.GuestOsFeature {
	var list []*computepb.GuestOsFeature
	if firmware != "" {
		list = append(list, &computepb.GuestOsFeature{Type: proto.String("WINDOWS")})
	}
	if firmware == job.UEFI {
		list = append(list, &computepb.GuestOsFeature{Type: proto.String("UEFI_COMPATIBLE")})
	}
	return list
}

func (d *Driver) diskTypePath(zone string) *string {
	return proto.String(fmt.Sprintf("projects/%s/zones/%s/diskTypes/%s", d.place.project, zone, diskType))
}

// attach attaches the disk so that it goes with the CE until it is detached.
func (d *Driver) attach(ctx context.Context, v *vm, x *disk) error {
	op, err := d.instances.AttachDisk(ctx, &computepb.AttachDiskInstanceRequest{
		Project: d.place.project, Zone: v.zone, Instance: v.GetName(), RequestId: d.requestID(),
		AttachedDiskResource: &computepb.AttachedDisk{
			Source: proto.String(d.place.path(v.zone, "disks", x.GetName())), DeviceName: proto.String(x.deviceName()),
			AutoDelete: proto.Bool(true), Boot: proto.Bool(false), Mode: proto.String("READ_WRITE"), Interface: proto.String("SCSI"),
		},
	})
	if err := d.inZone(ctx, v.zone, op, err); err != nil {
		return fmt.Errorf("attach %s: %w", x.GetName(), vanished(err))
	}
	return nil
}
