package azure

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// Stop implements platforms.Driver. The CE keeps its place on its host: it is to
// be started again soon, and there may be no other.
func (d *Driver) Stop(ctx context.Context, name string) error {
	return d.fail("stop", name, d.withCE(ctx, name, func(v *vm) (bool, error) {
		if v.power == "stopped" || v.power == "deallocated" || v.power == "" {
			return true, nil
		}
		_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.VirtualMachinesClientPowerOffResponse], error) {
			return d.vms.BeginPowerOff(ctx, d.group, name, &armcompute.VirtualMachinesClientBeginPowerOffOptions{SkipShutdown: to.Ptr(true)})
		})
		if missing(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("switch it off: %w", err)
		}
		return true, nil
	}))
}

// Destroy implements platforms.Driver. It does not wait for what is under way
// with the CE: to be deleted is worth more than any of that.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	err := validName(name)
	if err == nil {
		err = d.patiently(ctx, func() (bool, error) {
			v, err := d.look(ctx, name)
			if err == nil && v != nil {
				err = v.ours()
			}
			if err != nil {
				return false, err
			}
			return true, d.remove(ctx, name, v)
		})
	}
	return d.fail("destroy", name, err)
}

// remove removes the VM of a CE, if there is one, and then all that did not go
// with it.
func (d *Driver) remove(ctx context.Context, name string, v *vm) error {
	if v != nil {
		_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.VirtualMachinesClientDeleteResponse], error) {
			return d.vms.BeginDelete(ctx, d.group, name, &armcompute.VirtualMachinesClientBeginDeleteOptions{ForceDeletion: to.Ptr(true)})
		})
		if err != nil && !missing(err) {
			return fmt.Errorf("delete the VM: %w", err)
		}
	}
	parts, err := d.parts(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.ce != name {
			continue
		}
		if p.attached {
			// By now the VM that it was attached to is gone, or another one of that
			// name has been made, whose it is.
			return fmt.Errorf("%s: %w", p.id, patience.ErrContended)
		}
		if err := p.remove(ctx); err != nil {
			return fmt.Errorf("delete %s: %w", p.id, err)
		}
	}
	return nil
}

// errGone says that a CE is not there.
func errGone() error { return platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound) }
