package xenserver

import (
	"context"
	"fmt"

	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

// Check implements platforms.Driver. It logs in, finds what the request names,
// compares the user's permissions with the list, and looks for a host with room.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	return d.fail("check", ce.Name, d.check(ctx, ce))
}

func (d *Driver) check(ctx context.Context, ce platforms.Spec) error {
	if err := ce.Validate(); err != nil {
		return err
	}
	image, err := d.p.appliance.Read(ctx)
	if err != nil {
		return err
	}
	sr, err := d.repository(ctx)
	if err != nil {
		return err
	}
	if _, err := d.network(ctx); err != nil {
		return err
	}
	if err := d.checkPermissions(ctx, forCE); err != nil {
		return err
	}
	ces, err := d.lookCEs(ctx, ce.Name)
	if err != nil {
		return err
	}
	if err := belong(ces, ce); err != nil {
		return err
	}
	if len(ces) > 0 && ces[0].on() {
		return nil // what runs has its space and its host
	}
	found, err := d.lookBase(ctx, sr, image)
	if err != nil {
		return err
	}
	need, what := image.size, "a CE's disk"
	if found == nil {
		need, what = 2*image.size, "a CE's disk and the one that it is copied from"
	}
	if err := sr.hasRoom(need, what); err != nil {
		return err
	}
	return d.checkHosts(ctx, sr, "a CE", int64(d.p.cfg.MemoryMB)*mib)
}

// checkHosts refuses a pool of which no host that has the SR has the memory for a
// VM, in bytes.
func (d *Driver) checkHosts(ctx context.Context, sr *repository, what string, need int64) error {
	most, hosts := int64(0), 0
	for _, ref := range sr.PBDs {
		var at struct {
			Host     xapi.Ref `json:"host"`
			Attached bool     `json:"currently_attached"`
		}
		if err := d.client.Call(ctx, "PBD.get_record", &at, ref); err != nil {
			return fmt.Errorf("SR %s: %w", sr.Name, err)
		}
		if !at.Attached {
			continue
		}
		var host struct {
			Enabled bool `json:"enabled"`
		}
		if err := d.client.Call(ctx, "host.get_record", &host, at.Host); err != nil {
			return err
		}
		if !host.Enabled {
			continue
		}
		var free int64
		if err := d.client.Call(ctx, "host.compute_free_memory", &free, at.Host); err != nil {
			return fmt.Errorf("memory of a host: %w", err)
		}
		hosts++
		if most = max(most, free); most >= need {
			return nil
		}
	}
	if hosts == 0 {
		return platforms.Errorf(platforms.Busy, "SR %s (%s) is attached to no host that is enabled", sr.Name, sr.UUID)
	}
	return platforms.Errorf(platforms.Full, "of %d hosts that have the SR %s, none has more than %d MiB of memory free, %s needs %d MiB", hosts, sr.Name, most/mib, what, need/mib)
}
