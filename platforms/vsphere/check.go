package vsphere

import (
	"context"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

// Check implements platforms.Driver. It logs in, finds what the request names,
// and compares the user's privileges with the list.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	return d.fail("check", ce.Name, d.check(ctx, ce))
}

func (d *Driver) check(ctx context.Context, ce platforms.Spec) error {
	if err := ce.Validate(); err != nil {
		return err
	}
	var use purpose
	if d.p.cfg.Template != "" {
		use = forTemplate
	} else {
		use = forImport
		if _, err := d.p.ova.Read(ctx); err != nil {
			return err
		}
	}
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	if err := d.checkPrivileges(ctx, s, nil, forCE, use); err != nil {
		return err
	}
	running := false
	err = d.withCE(ctx, ce.Name, func(_ *site, v *vm) (bool, error) {
		if v.extra[keyJob] != ce.Job || v.extra[keyOwner] != ce.Owner {
			return false, platforms.Errorf(platforms.Foreign, "the CE of that name is of job %s of %s", v.extra[keyJob], v.extra[keyOwner])
		}
		running = v.power == types.VirtualMachinePowerStatePoweredOn
		return true, nil
	})
	if err != nil || running {
		return err // what runs has its space and its host
	}
	if _, err := s.host(ce.Name); err != nil {
		return err
	}
	return s.checkCapacity("a CE", d.p.cfg.MemoryMB)
}

// checkCapacity refuses a datastore that has no room for a VM without its output
// disk: one that runs has a swap file of the size of its memory.
func (s *site) checkCapacity(what string, memoryMB int) error {
	summary := get[types.DatastoreSummary](s.datastore.properties, "summary")
	if !summary.Accessible {
		return platforms.Errorf(platforms.Busy, "datastore %s is not accessible", s.datastore.name)
	}
	need := int64(memoryMB)*mib + minFree
	if summary.FreeSpace < need {
		return platforms.Errorf(platforms.Full, "datastore %s has %d MiB free, %s needs %d MiB", s.datastore.name, summary.FreeSpace/mib, what, need/mib)
	}
	return nil
}
