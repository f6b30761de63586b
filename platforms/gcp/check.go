package gcp

import (
	"context"
	"fmt"
	"net/http"

	"cloud.google.com/go/compute/apiv1/computepb"

	"imageport/platforms"
)

// Check implements platforms.Driver. It compares the credential's permissions
// with the list, which also finds the project, the subnetwork, the bucket and the
// image, and looks for the machine type in each zone. Whether a zone has room is
// not to be known before.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	return d.fail("check", ce.Name, d.check(ctx, ce))
}

func (d *Driver) check(ctx context.Context, ce platforms.Spec) error {
	if err := ce.Validate(); err != nil {
		return err
	}
	use := forImage
	if d.p.cfg.Appliance != "" {
		use = forAppliance
		if _, err := d.p.appliance.Read(ctx); err != nil {
			return err
		}
	}
	if err := d.checkPermissions(ctx, forCE, use); err != nil {
		return err
	}
	for _, zone := range d.place.zones {
		_, err := d.machines.Get(ctx, &computepb.GetMachineTypeRequest{Project: d.place.project, Zone: zone, MachineType: d.place.machine})
		if isNotFound(err) || isHTTP(err, http.StatusBadRequest) {
			return platforms.Errorf(platforms.BadRequest, "zone %s has no machine type %s, or there is no such zone: %w", zone, d.place.machine, &failure{err})
		}
		if err != nil {
			return fmt.Errorf("machine type %s in zone %s: %w", d.place.machine, zone, err)
		}
	}
	_, err := d.lookFor(ctx, ce)
	return err
}
