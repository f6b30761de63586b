package xenserver

import (
	"context"
	"fmt"

	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

// systemDevice is the device of a CE's own disk.
const systemDevice = "0"

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
	secret, err := encodeSeed(ce.Seed)
	if err != nil {
		return in, err
	}
	err = d.patiently(ctx, func() (done bool, err error) {
		ces, err := d.lookCEs(ctx, ce.Name)
		if err != nil {
			return false, err
		}
		if err := belong(ces, ce); err != nil {
			return false, err
		}
		if len(ces) == 0 {
			if err := d.refuseGuest(ctx, ce.Name); err != nil {
				return false, err
			}
			return false, d.createVM(ctx, ce, secret)
		}
		if last := ces[len(ces)-1]; last.dead() {
			return false, d.remove(ctx, last) // what somebody began
		}
		if len(ces) > 1 || !ces[0].elected() {
			return false, d.elect(ctx, ces)
		}
		switch v := ces[0]; {
		case v.on():
			in = v.instance(d.address)
			return true, nil
		case v.Power != halted: // somebody suspended it
			return false, d.powerOff(ctx, v)
		default:
			return false, d.complete(ctx, v, secret)
		}
	})
	return in, err
}

// belong fails with Foreign if one of the VMs is another job's.
func belong(ces []*vm, ce platforms.Spec) error {
	for _, v := range ces {
		if v.Marks[keyJob] != ce.Job || v.Marks[keyOwner] != ce.Owner {
			return platforms.Errorf(platforms.Foreign, "the CE of that name is of job %s of %s", v.Marks[keyJob], v.Marks[keyOwner])
		}
	}
	return nil
}

// elect decides which of the VMs is the CE. None of them is dead, and they are in
// the order of better.
//
// Names are not unique: each of several callers may have made a VM before it saw
// another's. So each VM gets one verdict, by a key that can be added once only.
// Who wants a VM elected has rejected all others before. Two VMs are never elected
// both: of two callers one has looked when both VMs were there, because each looks
// after it has made its own. It rejects the other before it elects its own; if that
// comes too late, it finds the other elected, and leaves its own to be removed.
// Anybody can go on where a caller stopped.
func (d *Driver) elect(ctx context.Context, ces []*vm) error {
	for _, other := range ces[1:] {
		verdict, key := rejected, keyVerdict
		if other.elected() { // against all that is said above: somebody else's doing
			verdict, key = d.now(), keyEnding
		}
		if added, err := d.addMark(ctx, "VM", other.ref, key, verdict); err != nil || !added {
			return err // it is another look that tells what became of it
		}
	}
	if ces[0].elected() {
		return nil
	}
	_, err := d.addMark(ctx, "VM", ces[0].ref, keyVerdict, elected)
	return err
}

// complete takes the CE, which is off, a step closer to running.
func (d *Driver) complete(ctx context.Context, v *vm, secret string) error {
	if len(v.VIFs) == 0 {
		return d.createVIF(ctx, v)
	}
	disks, err := d.vbds(ctx, v.VBDs)
	if err != nil {
		return err
	}
	var system *vbd
	for _, b := range disks {
		if b.Device == systemDevice {
			system = &b
		}
	}
	if system == nil {
		return d.attachSystem(ctx, v)
	}
	if ready, err := d.fillSystem(ctx, v, system); err != nil || !ready {
		return err
	}
	if v.Xenstore[keySeed] != secret {
		if err := d.client.Call(ctx, "VM.set_xenstore_data", nil, v.ref, map[string]string{keySeed: secret}); err != nil {
			return fmt.Errorf("give it its seed: %w", err)
		}
		return nil
	}
	if err := d.refuseGuest(ctx, v.Name); err != nil {
		return err
	}
	if err := d.client.Run(ctx, "VM.start", v.ref, false, false); err != nil {
		return fmt.Errorf("switch it on: %w", err)
	}
	return nil
}

// createVIF connects the CE to the network.
func (d *Driver) createVIF(ctx context.Context, v *vm) error {
	network, err := d.network(ctx)
	if err != nil {
		return err
	}
	err = d.client.Call(ctx, "VIF.create", nil, map[string]any{
		"device": "0", "network": network, "VM": v.ref, "MAC": "", "MTU": 1500, "other_config": map[string]string{},
		"qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
	})
	if err != nil && !is(err, "DEVICE_ALREADY_EXISTS") {
		return fmt.Errorf("connect it to the network: %w", err)
	}
	return nil
}

// attachSystem gives the VM its own disk, which is still empty. It takes one that
// was made for it before.
func (d *Driver) attachSystem(ctx context.Context, v *vm) error {
	sr, err := d.repository(ctx)
	if err != nil {
		return err
	}
	image, err := d.p.appliance.Read(ctx)
	if err != nil {
		return err
	}
	own, err := d.systemDisks(ctx, sr.ref, v)
	if err != nil {
		return err
	}
	if len(own) == 0 {
		// Its size is the appliance's, as the SR has rounded that: the base is
		// copied into it.
		base, err := d.base(ctx, sr, image, v.Marks)
		if err != nil {
			return err
		}
		if _, err := d.createVDI(ctx, sr, v.Name, base.Size, v.Marks.of(v.UUID, roleSystem)); err != nil {
			return fmt.Errorf("make its disk: %w", err)
		}
		return nil
	}
	if err := d.createVBD(ctx, v, own[0].ref, systemDevice, true); err != nil && !is(err, "DEVICE_ALREADY_EXISTS") {
		return fmt.Errorf("attach its disk: %w", err)
	}
	return nil
}

// systemDisks gives the disks that were made to be the VM's own.
func (d *Driver) systemDisks(ctx context.Context, sr xapi.Ref, v *vm) ([]*vdi, error) {
	named, err := d.namedVDIs(ctx, sr, v.Name)
	if err != nil {
		return nil, err
	}
	var own []*vdi
	for _, disk := range named {
		if disk.of(v.Name) && disk.Marks[keyRole] == string(roleSystem) && disk.Marks[keyVM] == v.UUID {
			own = append(own, disk)
		}
	}
	return own, nil
}

// fillSystem takes the VM's own disk a step closer to being a copy of the
// appliance, and reports whether it is one.
//
// The appliance is copied into a VDI that is there, not cloned: a clone has the
// marks of what it was made from until somebody changes them, and if nobody does,
// nobody knows whose it is.
func (d *Driver) fillSystem(ctx context.Context, v *vm, system *vbd) (ready bool, err error) {
	disk, err := d.readVDI(ctx, system.VDI)
	switch {
	case err != nil:
		return false, err
	case disk == nil:
		return false, d.destroyVBD(ctx, *system) // somebody removed its disk
	case !disk.of(v.Name) || disk.Marks[keyRole] != string(roleSystem):
		return false, platforms.Errorf(platforms.Foreign, "the first disk of the CE (VDI %s) is not its own", disk.UUID)
	case disk.Marks[keyComplete] != "":
		return true, d.dropDoubles(ctx, v, disk)
	}
	sr, err := d.repository(ctx)
	if err != nil {
		return false, err
	}
	image, err := d.p.appliance.Read(ctx)
	if err != nil {
		return false, err
	}
	base, err := d.base(ctx, sr, image, v.Marks)
	if err != nil {
		return false, err
	}
	if err := d.client.Run(ctx, "VDI.copy", base.ref, sr.ref, xapi.Null, disk.ref); err != nil {
		return false, fmt.Errorf("copy the appliance (VDI %s): %w", base.UUID, err)
	}
	_, err = d.addMark(ctx, "VDI", disk.ref, keyComplete, d.now())
	return false, err
}

// dropDoubles removes the disks that other callers made for the VM when they had
// not seen this one.
func (d *Driver) dropDoubles(ctx context.Context, v *vm, kept *vdi) error {
	own, err := d.systemDisks(ctx, kept.SR, v)
	if err != nil {
		return err
	}
	for _, disk := range own {
		if disk.ref == kept.ref {
			continue
		}
		if err := d.destroyVDI(ctx, disk); err != nil {
			return err
		}
	}
	return nil
}
