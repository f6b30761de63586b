package azure

import (
	"context"
	"fmt"
	"strings"

	"imageport/platforms"
)

// Check implements platforms.Driver. It logs in, compares the credential's
// permissions with the list, and looks for what the request and the configuration
// name. Whether the subnet is there only the VM's creation can tell.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	return d.fail("check", ce.Name, d.check(ctx, ce))
}

func (d *Driver) check(ctx context.Context, ce platforms.Spec) error {
	if err := ce.Validate(); err != nil {
		return err
	}
	purposes := []purpose{forCE}
	switch {
	case d.p.cfg.Appliance != "":
		purposes = append(purposes, forGallery, forUpload)
	case d.p.source.gallery != "":
		purposes = append(purposes, forGallery)
	default:
		purposes = append(purposes, forManagedImage)
	}
	if err := d.checkActions(ctx, purposes...); err != nil {
		return err
	}
	if err := d.checkImage(ctx); err != nil {
		return err
	}
	v, err := d.look(ctx, ce.Name)
	if err != nil {
		return err
	}
	if v != nil {
		return v.belongs(ce) // what is there has its place
	}
	cores, err := d.checkSize(ctx)
	if err == nil {
		err = d.checkQuota(ctx, cores)
	}
	if kindOf(err) == platforms.Denied {
		return nil // a right on the whole subscription, which nothing else needs
	}
	return err
}

// checkSize refuses a size that the region does not have, and gives how many
// cores it has.
func (d *Driver) checkSize(ctx context.Context) (cores int32, err error) {
	for pager := d.sizes.NewListPager(d.region, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return 0, fmt.Errorf("VM sizes of %s: %w", d.region, err)
		}
		for _, s := range page.Value {
			if s != nil && s.NumberOfCores != nil && strings.EqualFold(text(s.Name), d.size) {
				return *s.NumberOfCores, nil
			}
		}
	}
	return 0, platforms.Errorf(platforms.BadRequest, "the region %s has no VM size %s", d.region, d.size)
}

// checkQuota refuses a region whose quota of cores has no room for a CE. There is
// one for each family of sizes as well, whose name nothing gives.
func (d *Driver) checkQuota(ctx context.Context, cores int32) error {
	for pager := d.usage.NewListPager(d.region, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("quotas of %s: %w", d.region, err)
		}
		for _, u := range page.Value {
			if u == nil || u.Name == nil || text(u.Name.Value) != "cores" || u.CurrentValue == nil || u.Limit == nil {
				continue
			}
			if int64(*u.CurrentValue)+int64(cores) > *u.Limit {
				return platforms.Errorf(platforms.Full, "%d of %d cores in %s are in use, a CE needs %d", *u.CurrentValue, *u.Limit, d.region, cores)
			}
		}
	}
	return nil
}
