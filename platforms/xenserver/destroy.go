package xenserver

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

// Stop implements platforms.Driver.
func (d *Driver) Stop(ctx context.Context, name string) error {
	_, err := d.withCE(ctx, name, func(v *vm) (bool, error) { return true, d.powerOff(ctx, v) })
	return d.fail("stop", name, err)
}

// Destroy implements platforms.Driver.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	_, err := d.withCE(ctx, name, func(v *vm) (bool, error) { return false, d.remove(ctx, v) })
	if err == nil {
		err = d.patiently(ctx, func() (bool, error) { return d.removeRest(ctx, name) })
	}
	return d.fail("destroy", name, err)
}

// remove removes a VM of a CE: first it is marked, so that nobody takes it for one
// that is to work; then its guest goes and it is switched off; then its disks go,
// because the pool leaves those of a VM that it removes; last the VM.
func (d *Driver) remove(ctx context.Context, v *vm) error {
	if v.Marks[keyEnding] == "" {
		if _, err := d.addMark(ctx, "VM", v.ref, keyEnding, d.now()); err != nil {
			return goneOr(err, "mark it as ending")
		}
	}
	// The guest may have its disk. It is not the guest of a VM that is not the CE.
	if v.Marks[keyVerdict] == elected {
		if err := d.dropGuests(ctx, v.Name); err != nil {
			return err
		}
	}
	if err := d.powerOff(ctx, v); err != nil {
		return err
	}
	disks, err := d.vbds(ctx, v.VBDs)
	if err != nil {
		return err
	}
	for _, b := range disks {
		if b.VDI == xapi.Null {
			continue // an empty drive
		}
		disk, err := d.readVDI(ctx, b.VDI)
		if err != nil {
			return err
		}
		// What somebody else has attached to it, and what was kept, stays.
		if disk != nil && disk.of(v.Name) {
			if err := d.destroyVDI(ctx, disk); err != nil {
				return err
			}
		}
	}
	return goneOr(d.client.Call(ctx, "VM.destroy", nil, v.ref), "remove the VM")
}

// goneOr gives err, unless it says that the object is no more.
func goneOr(err error, what string) error {
	if err == nil || gone(err) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// removeRest removes what the CE has besides its VMs, and reports whether all is
// gone.
func (d *Driver) removeRest(ctx context.Context, name string) (done bool, err error) {
	if err := d.dropGuests(ctx, name); err != nil {
		return false, err
	}
	all, err := d.allVDIs(ctx)
	if err != nil {
		return false, err
	}
	for _, v := range all {
		if !v.of(name) {
			continue
		}
		if err := d.destroyVDI(ctx, v); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Find implements platforms.Driver.
func (d *Driver) Find(ctx context.Context, name string) (platforms.Instance, error) {
	var in platforms.Instance
	found, err := d.withCE(ctx, name, func(v *vm) (bool, error) {
		in = v.instance(d.address)
		return true, nil
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	if err != nil {
		return platforms.Instance{}, d.fail("find", name, err)
	}
	return in, nil
}

// List implements platforms.Driver. It gives the CEs of the whole pool. A VM or a
// VDI without marks is not ours: it gets them when it is made. A CE of which there
// is only a guest is as that is, and one of which there are only VDIs is Stopped.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) {
	list, err := d.list(ctx)
	return list, d.fail("list", "CEs", err)
}

func (d *Driver) list(ctx context.Context) ([]platforms.Instance, error) {
	var records map[xapi.Ref]*vm
	if err := d.client.Call(ctx, "VM.get_all_records", &records); err != nil {
		return nil, err
	}
	best, guests := make(map[string]*vm), make(map[string]*vm)
	for ref, v := range records {
		if v == nil || v.Snapshot || v.Control {
			continue
		}
		v.ref = ref
		if other := best[v.Name]; v.isCE() && (other == nil || better(v, other) < 0) {
			best[v.Name] = v
		}
		ce := v.Marks[keyCE]
		if other := guests[ce]; v.isGuest(ce) && (other == nil || betterGuest(v, other) < 0) {
			guests[ce] = v
		}
	}
	found := make(map[string]platforms.Instance)
	for _, some := range []map[string]*vm{guests, best} {
		for name, v := range some {
			found[name] = v.instance(d.address)
		}
	}
	disks, err := d.allVDIs(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range disks {
		name := v.Marks[keyCE]
		if _, ok := found[name]; !ok && v.of(name) && seed.ValidName(name) {
			found[name] = v.Marks.instance(platforms.Stopped, d.address+"/"+v.UUID)
		}
	}
	var list []platforms.Instance
	for _, in := range found {
		list = append(list, in)
	}
	slices.SortFunc(list, func(a, b platforms.Instance) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
