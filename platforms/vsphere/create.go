package vsphere

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// now gives the time as it is written down.
func (p *Platform) now() string { return p.cfg.Now().UTC().Format(time.RFC3339Nano) }

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
	s, err := d.site(ctx)
	if err != nil {
		return in, err
	}
	folder, err := d.makeFolder(ctx, s)
	if err != nil {
		return in, fmt.Errorf("folder: %w", err)
	}
	err = d.patiently(ctx, func() (done bool, err error) {
		found, err := d.lookCE(ctx, s, ce.Name)
		switch {
		case err != nil:
			return false, err
		case found == nil:
			if err := d.refuseGuest(ctx, s, ce.Name); err != nil {
				return false, err
			}
			return false, d.clone(ctx, s, folder, ce, secret)
		case found.extra[keyJob] != ce.Job || found.extra[keyOwner] != ce.Owner:
			return false, platforms.Errorf(platforms.Foreign, "the CE of that name is of job %s of %s", found.extra[keyJob], found.extra[keyOwner])
		case found.extra[keyEnding] != "":
			return false, d.remove(ctx, s, found) // what somebody began
		case found.power == types.VirtualMachinePowerStatePoweredOn:
			in = found.instance(ce.Name, d.address)
			return true, nil
		}
		if err := d.refuseGuest(ctx, s, ce.Name); err != nil {
			return false, err
		}
		return false, d.start(ctx, found, secret)
	})
	return in, err
}

// start switches a CE on that is off, with this seed.
func (d *Driver) start(ctx context.Context, v *vm, secret string) error {
	if v.extra[keySeed] != secret {
		if err := d.reconfigure(ctx, v, types.VirtualMachineConfigSpec{ExtraConfig: options(keySeed, secret)}); err != nil {
			return fmt.Errorf("give it its seed: %w", err)
		}
	}
	if _, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) { return v.object(d).PowerOn(ctx) }); err != nil {
		return fmt.Errorf("switch it on: %w", err)
	}
	return nil
}

// clone makes the VM of the CE, switched off and with all its marks. That
// somebody else has made it meanwhile is a success.
//
// It is a full copy. The appliance is so small that it takes no longer than a
// linked one, which would need a snapshot of the template, and would keep
// whoever removes the template from doing so.
func (d *Driver) clone(ctx context.Context, s *site, folder types.ManagedObjectReference, ce platforms.Spec, secret string) error {
	template, err := d.template(ctx, s, folder, ce)
	if err != nil {
		return err
	}
	backing, err := d.backing(ctx, s)
	if err != nil {
		return fmt.Errorf("network %s: %w", s.network.name, err)
	}
	host, err := s.host(ce.Name)
	if err != nil {
		return err
	}
	spec := types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{
			Pool: &s.pool.ref, Datastore: &s.datastore.ref, Host: host,
			DiskMoveType: string(types.VirtualMachineRelocateDiskMoveOptionsMoveAllDiskBackingsAndDisallowSharing),
		},
		Config: &types.VirtualMachineConfigSpec{
			NumCPUs: int32(d.p.cfg.CPUs), NumCoresPerSocket: types.NewInt32(1), MemoryMB: int64(d.p.cfg.MemoryMB),
			DeviceChange: []types.BaseVirtualDeviceConfigSpec{adapter(template.devices, backing)},
			ExtraConfig: options(
				keyCE, ce.Name, keyJob, ce.Job, keyRun, ce.RunID, keyOwner, ce.Owner, keyCreated, d.p.now(),
				keySeed, secret, keyDiskUUID, "TRUE",
				keyImport, "", // the template's, which is no mark of the CE
			),
		},
	}
	_, err = d.run(ctx, func(ctx context.Context) (*object.Task, error) {
		return template.object(d).Clone(ctx, object.NewFolder(d.client, folder), ce.Name, spec)
	})
	if _, ok := faultOf(err).(*types.DuplicateName); ok {
		// It may be in the making still, and not to be seen yet.
		found, lookErr := d.child(ctx, folder, ce.Name)
		if lookErr != nil {
			return lookErr
		}
		if found == nil {
			return fmt.Errorf("clone: somebody else makes a VM of that name: %w", patience.ErrContended)
		}
		return nil
	}
	if _, ok := faultOf(err).(*types.FileNotFound); ok {
		// Somebody may have removed it while it was being made.
		err = fmt.Errorf("%w; %w", err, patience.ErrContended)
	}
	if err != nil {
		return fmt.Errorf("clone template %s: %w", template.name, err)
	}
	return nil
}

// adapter changes the first network adapter so that it is on the network, or
// adds one.
func adapter(devices object.VirtualDeviceList, backing types.BaseVirtualDeviceBackingInfo) *types.VirtualDeviceConfigSpec {
	spec := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd}
	for _, device := range devices {
		if _, ok := device.(types.BaseVirtualEthernetCard); ok {
			spec.Operation, spec.Device = types.VirtualDeviceConfigSpecOperationEdit, device
			break
		}
	}
	if spec.Device == nil {
		spec.Device = &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: types.VirtualEthernetCard{
			VirtualDevice: types.VirtualDevice{Key: -1},
			AddressType:   string(types.VirtualEthernetCardMacTypeGenerated),
		}}}
	}
	card := spec.Device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
	card.Backing = backing
	card.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true, Connected: true}
	if spec.Operation == types.VirtualDeviceConfigSpecOperationEdit {
		card.MacAddress, card.AddressType = "", string(types.VirtualEthernetCardMacTypeGenerated) // not the template's
	}
	return spec
}
