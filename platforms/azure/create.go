package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/appliance/seedsource/media"
	"imageport/platforms"
)

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
	raw, err := ce.Seed.Encode()
	if err != nil {
		return in, err
	}
	secret := media.Base64(raw)
	err = d.patiently(ctx, func() (done bool, err error) {
		v, err := d.await(ctx, ce.Name)
		switch {
		case err != nil:
			return false, err
		case v == nil:
			return false, d.make(ctx, ce, secret)
		}
		if err := v.belongs(ce); err != nil {
			return false, err
		}
		switch {
		case v.unfinished():
			return false, d.remove(ctx, ce.Name, v)
		case v.running():
			in = v.instance
			return true, nil
		}
		return false, d.start(ctx, v, secret)
	})
	return in, err
}

// start switches a CE on that is off, with this seed. The etag keeps it from
// giving a CE the seed of one call, and starting it by another's.
func (d *Driver) start(ctx context.Context, v *vm, secret string) error {
	_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.VirtualMachinesClientUpdateResponse], error) {
		return d.vms.BeginUpdate(ctx, d.group, v.name, armcompute.VirtualMachineUpdate{
			Properties: &armcompute.VirtualMachineProperties{UserData: &secret},
		}, &armcompute.VirtualMachinesClientBeginUpdateOptions{IfMatch: optional(v.etag)})
	})
	if err != nil {
		return fmt.Errorf("give it its seed: %w", err)
	}
	_, err = perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.VirtualMachinesClientStartResponse], error) {
		return d.vms.BeginStart(ctx, d.group, v.name, nil)
	})
	if err != nil {
		return fmt.Errorf("switch it on: %w", err)
	}
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// make makes the CE, where there is none. That somebody else has made it
// meanwhile is a success.
func (d *Driver) make(ctx context.Context, ce platforms.Spec, secret string) error {
	if err := d.clear(ctx, ce); err != nil {
		return fmt.Errorf("remove what is left of an earlier one: %w", err)
	}
	image, err := d.image(ctx, ce)
	if err != nil {
		return err
	}
	_, err = perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.VirtualMachinesClientCreateOrUpdateResponse], error) {
		return d.vms.BeginCreateOrUpdate(ctx, d.group, ce.Name, d.machine(ce, image, secret),
			&armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions{IfNoneMatch: to.Ptr("*")})
	})
	if codeOf(err) == "PreconditionFailed" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the VM: %w", err)
	}
	return nil
}

// clear removes the disks that an earlier CE of that name has left: what is in
// its output disk is of another attempt. What the VM that somebody else makes at
// this moment has is attached, or will be refused to be deleted.
func (d *Driver) clear(ctx context.Context, ce platforms.Spec) error {
	parts, err := d.parts(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.ce != ce.Name || p.attached || p.tags.get(tagOutput) == "" && p.tags.get(tagKept) == "" {
			continue
		}
		if p.tags.get(tagJob) != ce.Job || p.tags.get(tagOwner) != ce.Owner {
			return platforms.Errorf(platforms.Foreign, "%s is of job %s of %s", p.id, p.tags.get(tagJob), p.tags.get(tagOwner))
		}
		if err := p.remove(ctx); err != nil {
			return err
		}
	}
	return nil
}

// machine describes the VM of a CE, with its network interface and its disk. Both
// have other names in every attempt: what was left of an earlier one would be in
// the way.
func (d *Driver) machine(ce platforms.Spec, image, secret string) armcompute.VirtualMachine {
	sum := sha256.Sum256([]byte(secret))
	attempt := ce.Name + "-" + hex.EncodeToString(sum[:4])
	return armcompute.VirtualMachine{
		Location: &d.region, Tags: marks(ce),
		Properties: &armcompute.VirtualMachineProperties{
			HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes(d.size))},
			StorageProfile: &armcompute.StorageProfile{
				// With NVMe, a disk has no LUN.
				DiskControllerType: to.Ptr(armcompute.DiskControllerTypesSCSI),
				ImageReference:     &armcompute.ImageReference{ID: &image},
				OSDisk: &armcompute.OSDisk{
					Name:         to.Ptr(attempt + "-os"),
					CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete),
					ManagedDisk: &armcompute.ManagedDiskParameters{StorageAccountType: to.Ptr(armcompute.StorageAccountTypes(d.p.cfg.DiskType))},
				},
			},
			// The CE asks the metadata service for it. customData would need an agent of
			// Azure's in the image.
			UserData: &secret,
			NetworkProfile: &armcompute.NetworkProfile{
				NetworkAPIVersion: to.Ptr(armcompute.NetworkAPIVersionTwoThousandTwenty1101),
				NetworkInterfaceConfigurations: []*armcompute.VirtualMachineNetworkInterfaceConfiguration{{
					Name: to.Ptr(attempt + "-nic"), Tags: marks(ce),
					Properties: &armcompute.VirtualMachineNetworkInterfaceConfigurationProperties{
						Primary: to.Ptr(true), DeleteOption: to.Ptr(armcompute.DeleteOptionsDelete),
						IPConfigurations: []*armcompute.VirtualMachineNetworkInterfaceIPConfiguration{{
							Name: to.Ptr("ip"),
							Properties: &armcompute.VirtualMachineNetworkInterfaceIPConfigurationProperties{
								Primary: to.Ptr(true), Subnet: &armcompute.SubResource{ID: &d.subnet},
							},
						}},
					},
				}},
			},
			// Without a storage account of ours: Azure keeps what its console shows.
			DiagnosticsProfile: &armcompute.DiagnosticsProfile{BootDiagnostics: &armcompute.BootDiagnostics{Enabled: to.Ptr(true)}},
		},
	}
}
