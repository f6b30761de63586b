package gcp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// The limit to how long an instance runs, of the cloud's own (Compute Engine,
// "Limit the runtime of a VM"). A CE ends by itself at its deadline; the slack
// lets that come first.
const (
	minRun, maxRun = 30 * time.Second, 120 * 24 * time.Hour
	runSlack       = 15 * time.Minute
)

// diskType is that of all disks: on solid state, for the price of a tenth more
// than the slow ones.
const diskType = "pd-balanced"

// Create implements platforms.Driver.
func (d *Driver) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	in, err := d.create(ctx, ce)
	if err != nil {
		return platforms.Instance{}, d.fail("create", ce.Name, err)
	}
	return in, nil
}

func (d *Driver) create(ctx context.Context, ce platforms.Spec) (in platforms.Instance, err error) {
	if err := ce.Validate(); err != nil {
		return in, err
	}
	secret, err := ce.Seed.Encode()
	if err != nil {
		return in, err
	}
	var seen uint64 // the instance that counted when it was last looked
	err = d.patiently(ctx, func() (done bool, err error) {
		found, err := d.lookFor(ctx, ce)
		if err != nil {
			return false, err
		}
		if len(found) == 0 {
			return false, d.make(ctx, ce, string(secret))
		}
		v := found[0]
		switch v.GetStatus() {
		case statusRunning:
			if seen != v.GetId() && len(d.place.zones) > 1 {
				// One that was asked for earlier, in a zone that was looked into
				// before, shows the second time.
				seen = v.GetId()
				return false, nil
			}
			if len(found) > 1 {
				return false, d.removeDoubles(ctx, found[1:])
			}
			in = v.instance(d.place)
			return true, nil
		case statusTerminated:
			return false, d.start(ctx, v, string(secret))
		case statusSuspended:
			return false, platforms.Errorf(platforms.Busy, "somebody has suspended the instance in zone %s", v.zone)
		}
		return false, fmt.Errorf("the instance in zone %s is %s: %w", v.zone, v.GetStatus(), patience.ErrContended)
	})
	return in, err
}

// lookFor looks for the CE of a Spec, and refuses a name that is somebody else's.
func (d *Driver) lookFor(ctx context.Context, ce platforms.Spec) ([]*vm, error) {
	found, foreign, err := d.look(ctx, ce.Name)
	if err != nil {
		return nil, err
	}
	for _, v := range foreign {
		return nil, platforms.Errorf(platforms.Foreign, "there is an instance of that name in zone %s, which imageport did not make", v.zone)
	}
	for _, v := range found {
		if is := v.instance(d.place); is.Job != ce.Job || is.Owner != ce.Owner {
			return nil, platforms.Errorf(platforms.Foreign, "the CE of that name in zone %s is of job %s of %s", v.zone, is.Job, is.Owner)
		}
	}
	return found, nil
}

// removeDoubles removes what several callers have made at the same time in
// different zones, because the first zones had no capacity for some of them. The
// first instance stays. Nobody was given another one: who makes an instance
// looks again when it runs, and then sees all that were asked for earlier.
func (d *Driver) removeDoubles(ctx context.Context, doubles []*vm) error {
	for _, v := range doubles {
		if err := d.deleteVM(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// start switches a CE on that is off, with this seed.
func (d *Driver) start(ctx context.Context, v *vm, secret string) error {
	if item(v.Metadata, keySeed) != secret {
		op, err := d.instances.SetMetadata(ctx, &computepb.SetMetadataInstanceRequest{
			Project: d.place.project, Zone: v.zone, Instance: v.GetName(), RequestId: d.requestID(),
			MetadataResource: withSeed(v.Metadata, secret),
		})
		if err := d.inZone(ctx, v.zone, op, err); err != nil {
			return fmt.Errorf("give it its seed: %w", vanished(err))
		}
	}
	op, err := d.instances.Start(ctx, &computepb.StartInstanceRequest{
		Project: d.place.project, Zone: v.zone, Instance: v.GetName(), RequestId: d.requestID(),
	})
	if err := d.inZone(ctx, v.zone, op, err); err != nil {
		return fmt.Errorf("switch it on in zone %s, where its disks are: %w", v.zone, vanished(err))
	}
	return nil
}

// vanished says of an error that what was there a moment ago is not any more,
// that somebody else is at work.
func vanished(err error) error {
	if isNotFound(err) {
		return contended(err)
	}
	return err
}

// make makes the instance of the CE, with all its marks, in the first zone that
// has room. That somebody else has made it meanwhile is a success.
func (d *Driver) make(ctx context.Context, ce platforms.Spec, secret string) error {
	if err := d.removeLeftovers(ctx, ce.Name); err != nil {
		return err
	}
	image, err := d.image(ctx)
	if err != nil {
		return fmt.Errorf("image of the appliance: %w", err)
	}
	var full []error
	for _, zone := range d.place.zones {
		err := d.insert(ctx, zone, ce, secret, image)
		switch {
		case isTaken(err):
			return d.taken(ctx, zone, ce.Name, err)
		case isNotFound(err) && d.gone(ctx, image):
			return contended(err)
		case err == nil || kindOf(err) != platforms.Full:
			return err
		}
		full = append(full, err)
	}
	return errors.Join(full...)
}

// gone reports whether somebody has removed an image that was known to be there. It
// is made again then.
func (d *Driver) gone(ctx context.Context, image string) bool {
	found, err := d.getImage(ctx, d.place.project, lastName(image))
	return err == nil && found == nil && d.p.forgetImported(image)
}

// insert makes the instance in a zone.
func (d *Driver) insert(ctx context.Context, zone string, ce platforms.Spec, secret, image string) error {
	op, err := d.instances.Insert(ctx, &computepb.InsertInstanceRequest{
		Project: d.place.project, Zone: zone, RequestId: d.requestID(), InstanceResource: d.template(zone, ce, secret, image),
	})
	if err := d.inZone(ctx, zone, op, err); err != nil {
		err = fmt.Errorf("make it in zone %s: %w", zone, err)
		if kindOf(err) == platforms.Full && op != nil {
			return errors.Join(err, d.removeFailed(ctx, zone, ce.Name, op.Proto().GetTargetId()))
		}
		return err
	}
	return nil
}

// removeFailed removes what is left of an instance that could not be made. The
// cloud does that itself, as a rule.
func (d *Driver) removeFailed(ctx context.Context, zone, name string, id uint64) error {
	in, err := d.instances.Get(ctx, &computepb.GetInstanceRequest{Project: d.place.project, Zone: zone, Instance: name})
	if isNotFound(err) || err == nil && in.GetId() != id { // gone, or another attempt's
		return nil
	}
	if err != nil {
		return err
	}
	return d.deleteVM(ctx, &vm{in, zone})
}

// taken finds out who has the name. It may be that of an instance that is in the
// making still, and not to be seen yet.
func (d *Driver) taken(ctx context.Context, zone, name string, err error) error {
	found, foreign, lookErr := d.look(ctx, name)
	if lookErr != nil {
		return lookErr
	}
	if len(found)+len(foreign) > 0 {
		return nil
	}
	left, lookErr := d.getDisk(ctx, zone, name)
	if lookErr != nil {
		return lookErr
	}
	if left != nil && left.CE != name {
		return platforms.Errorf(platforms.Foreign, "there is a disk of that name in zone %s, which imageport did not make", zone)
	}
	return contended(err)
}

// template is the instance to make.
func (d *Driver) template(zone string, ce platforms.Spec, secret, image string) *computepb.Instance {
	r := recordFor(ce)
	run := min(max(ce.Seed.Deadline.Sub(d.p.cfg.Now())+runSlack, minRun), maxRun)
	nic := &computepb.NetworkInterface{Network: proto.String(d.place.network), Subnetwork: proto.String(d.place.subnet.String())}
	if d.place.address != "" {
		nic.NetworkIP = proto.String(d.place.address)
	}
	in := &computepb.Instance{
		Name:        proto.String(ce.Name),
		Description: proto.String("Compositing Engine of imageport for the job " + ce.Job),
		MachineType: proto.String(fmt.Sprintf("zones/%s/machineTypes/%s", zone, d.place.machine)),
		Labels:      r.labels(),
		Metadata: &computepb.Metadata{Items: items(
			keyJob, ce.Job, keyRun, ce.RunID, keyOwner, ce.Owner, keySeed, secret,
			"block-project-ssh-keys", strconv.FormatBool(true),
			"serial-port-logging-enable", strconv.FormatBool(true), // what it says stays when it is gone
		)},
		Disks: []*computepb.AttachedDisk{{
			Boot: proto.Bool(true), AutoDelete: proto.Bool(true), DeviceName: proto.String("boot"),
			InitializeParams: &computepb.AttachedDiskInitializeParams{
				DiskName: proto.String(ce.Name), SourceImage: proto.String(image),
				DiskType: proto.String(fmt.Sprintf("zones/%s/diskTypes/%s", zone, diskType)),
				Labels:   r.labels(), Description: proto.String(r.String()),
			},
		}},
		// Without an access configuration it has no address outside, and without a
		// service account no rights in the project.
		NetworkInterfaces: []*computepb.NetworkInterface{nic},
		Scheduling: &computepb.Scheduling{
			ProvisioningModel: proto.String("STANDARD"), OnHostMaintenance: proto.String("MIGRATE"),
			// The cloud would start it with a token that is used up.
			AutomaticRestart: proto.Bool(false),
			// Stop and Destroy pull the plug; the cloud would wait two minutes for the guest.
			SkipGuestOsShutdown: proto.Bool(true),
			MaxRunDuration:      &computepb.Duration{Seconds: proto.Int64(int64(run / time.Second))}, InstanceTerminationAction: proto.String("DELETE"),
		},
		// The appliance is signed with nobody's key.
		ShieldedInstanceConfig: &computepb.ShieldedInstanceConfig{
			EnableSecureBoot: proto.Bool(false), EnableVtpm: proto.Bool(true), EnableIntegrityMonitoring: proto.Bool(false),
		},
	}
	if len(d.place.tags) > 0 {
		in.Tags = &computepb.Tags{Items: d.place.tags}
	}
	return in
}
