package vsphere

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job/seed"
	"imageport/platforms"
)

// Stop implements platforms.Driver.
func (d *Driver) Stop(ctx context.Context, name string) error {
	return d.fail("stop", name, d.withCE(ctx, name, func(_ *site, v *vm) (bool, error) {
		return true, d.powerOff(ctx, v)
	}))
}

// Destroy implements platforms.Driver.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	err := d.withCE(ctx, name, func(s *site, v *vm) (bool, error) { return false, d.remove(ctx, s, v) })
	if err == nil {
		err = ours(d.removeGuest(ctx, name)) // one that came late
	}
	if err == nil {
		err = d.removeImports(ctx, name)
	}
	return d.fail("destroy", name, err)
}

// withCE calls do with the CE until that is done, or there is no CE.
func (d *Driver) withCE(ctx context.Context, name string, do func(*site, *vm) (done bool, err error)) error {
	if !seed.ValidName(name) {
		return invalidName(name)
	}
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	return d.patiently(ctx, func() (bool, error) {
		v, err := d.lookCE(ctx, s, name)
		if err != nil || v == nil {
			return err == nil, err
		}
		return do(s, v)
	})
}

// powerOff pulls the plug.
func (d *Driver) powerOff(ctx context.Context, v *vm) error {
	if v.off() {
		return nil
	}
	if _, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) { return v.object(d).PowerOff(ctx) }); err != nil {
		return fmt.Errorf("switch it off: %w", err)
	}
	return nil
}

// ours leaves alone what has the name of a guest and is none.
func ours(err error) error {
	if platforms.KindOf(err) == platforms.Foreign {
		return nil
	}
	return err
}

// remove removes a CE: first it is marked, so that nobody takes it for one that
// is to work; then its guest goes, which may have its disk; then it is switched
// off; then what it has outside of itself goes, because the CE is the only record of that; last the VM, with the disks that
// are attached to it.
func (d *Driver) remove(ctx context.Context, s *site, v *vm) error {
	if v.extra[keyEnding] == "" {
		if err := d.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: options(keyEnding, d.p.now())}); err != nil {
			return fmt.Errorf("mark it as ending: %w", err)
		}
	}
	g, err := d.lookGuest(ctx, s, v.name)
	if g != nil {
		err = d.dropGuest(ctx, g, true)
	}
	if err := ours(err); err != nil {
		return err
	}
	if err := d.powerOff(ctx, v); err != nil {
		return err
	}
	records, err := v.records()
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := d.dropDetached(ctx, s, v, r); err != nil {
			return err
		}
	}
	if err := d.releaseForeign(ctx, v, records); err != nil {
		return err
	}
	if _, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) { return v.object(d).Destroy(ctx) }); err != nil {
		return fmt.Errorf("remove the VM: %w", err)
	}
	return nil
}

// dropDetached deletes an output disk that is not attached any more and did not
// get its name. One that is attached goes with the VM.
func (d *Driver) dropDetached(ctx context.Context, s *site, v *vm, r record) error {
	if _, attached := v.disk(r.Partial); attached || r.State == stateKept {
		return nil
	}
	if err := d.deleteDisk(ctx, s, r.Partial); err != nil {
		return fmt.Errorf("delete %s: %w", r.Partial, err)
	}
	return nil
}

// deleteDisk deletes a virtual disk. That there is none is a success.
func (d *Driver) deleteDisk(ctx context.Context, s *site, file string) error {
	_, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualDiskManager(d.client).DeleteVirtualDisk(ctx, file, object.NewDatacenter(d.client, s.datacenter.ref))
	})
	if _, ok := faultOf(err).(*types.FileNotFound); ok {
		return nil
	}
	return err
}

// releaseForeign detaches the disks that are neither the VM's own nor output
// disks of ours: somebody has attached them to look at them, and removing a VM
// deletes all that is attached to it.
func (d *Driver) releaseForeign(ctx context.Context, v *vm, records []record) error {
	var changes []types.BaseVirtualDeviceConfigSpec
	for _, disk := range v.disks() {
		ours := v.owns(disk.file) || slices.ContainsFunc(records, func(r record) bool { return r.Partial == disk.file })
		if !ours {
			changes = append(changes, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk.device})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if err := d.reconfigure(ctx, v, types.VirtualMachineConfigSpec{DeviceChange: changes}); err != nil {
		return fmt.Errorf("detach what is not its own: %w", err)
	}
	return nil
}

// removeImports removes what was imported for the CE and not completed.
func (d *Driver) removeImports(ctx context.Context, name string) error {
	return d.patiently(ctx, func() (bool, error) {
		all, err := d.folderVMs(ctx)
		if err != nil {
			return false, err
		}
		for _, v := range all {
			if !v.isImport(name) {
				continue
			}
			if _, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) { return v.object(d).Destroy(ctx) }); err != nil {
				return false, fmt.Errorf("remove %s: %w", v.name, err)
			}
		}
		return true, nil
	})
}

// folderVMs reads all VMs of the folder of the CEs.
func (d *Driver) folderVMs(ctx context.Context) ([]*vm, error) {
	s, err := d.site(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := d.findFolder(ctx, s)
	if err != nil || folder == nil {
		return nil, err
	}
	return d.vms(ctx, *folder)
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
	err = d.withCE(ctx, name, func(_ *site, v *vm) (bool, error) {
		in, found = v.instance(name, d.address), true
		return true, nil
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return in, err
}

// List implements platforms.Driver. It gives the CEs in the folder of the
// request. A VM without marks is not ours: it gets them when it is made. A CE of
// which there is only the appliance that was being imported for it is Stopped, and
// one of which there is only the guest is as that is.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) {
	all, err := d.folderVMs(ctx)
	if err != nil {
		return nil, d.fail("list", "CEs", err)
	}
	found := make(map[string]platforms.Instance)
	for _, v := range all {
		if v.isCE() {
			found[v.name] = v.instance(v.name, d.address)
		}
	}
	for _, v := range all {
		name := v.guestOf()
		if imported := v.extra[keyImport]; seed.ValidName(imported) && v.isImport(imported) {
			name = imported
		}
		if _, ok := found[name]; !ok && name != "" {
			found[name] = v.instance(name, d.address)
		}
	}
	var list []platforms.Instance
	for _, in := range found {
		list = append(list, in)
	}
	slices.SortFunc(list, func(a, b platforms.Instance) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
