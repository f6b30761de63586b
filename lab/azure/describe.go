package azure

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

func (c *Cloud) getMachine(group, name string, expand armcompute.InstanceViewTypes) (armcompute.VirtualMachine, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[key(group, name)]
	if m == nil {
		return armcompute.VirtualMachine{}, notFound("Microsoft.Compute/virtualMachines", name)
	}
	return c.describe(m, expand), nil
}

func (c *Cloud) listMachines(group string) []*armcompute.VirtualMachine {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []*armcompute.VirtualMachine{}
	for _, k := range slices.Sorted(maps.Keys(c.machines)) {
		if m := c.machines[k]; strings.EqualFold(m.group, group) {
			vm := c.describe(m, "")
			all = append(all, &vm)
		}
	}
	return all
}

// describe gives a VM as it is told of. The caller holds mu.
func (c *Cloud) describe(m *machine, expand armcompute.InstanceViewTypes) armcompute.VirtualMachine {
	vm := armcompute.VirtualMachine{
		ID: to.Ptr(m.id()), Name: to.Ptr(m.name), Type: to.Ptr("Microsoft.Compute/virtualMachines"), Location: to.Ptr(Region),
		Tags: maps.Clone(m.tags), Etag: to.Ptr(strconv.Itoa(m.etag)),
		Properties: &armcompute.VirtualMachineProperties{
			ProvisioningState: to.Ptr(m.state), TimeCreated: to.Ptr(m.created), VMID: to.Ptr(m.vmID),
			HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes(m.size))},
			StorageProfile:  &armcompute.StorageProfile{DataDisks: []*armcompute.DataDisk{}},
		},
	}
	for _, a := range m.disks {
		managed := &armcompute.ManagedDiskParameters{ID: to.Ptr(a.disk.id())}
		if a.lun < 0 {
			vm.Properties.StorageProfile.OSDisk = &armcompute.OSDisk{Name: to.Ptr(a.disk.name), ManagedDisk: managed, DeleteOption: to.Ptr(a.deleteOption)}
			continue
		}
		vm.Properties.StorageProfile.DataDisks = append(vm.Properties.StorageProfile.DataDisks, &armcompute.DataDisk{
			Name: to.Ptr(a.disk.name), Lun: to.Ptr(a.lun), ManagedDisk: managed, DeleteOption: to.Ptr(a.deleteOption),
			CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach),
		})
	}
	switch expand {
	case armcompute.InstanceViewTypesUserData:
		vm.Properties.UserData = to.Ptr(m.userData)
	case armcompute.InstanceViewTypesInstanceView:
		view := &armcompute.VirtualMachineInstanceView{}
		status := &armcompute.InstanceViewStatus{Code: to.Ptr("ProvisioningState/" + strings.ToLower(m.state))}
		if m.state == stateFailed {
			status.Code = to.Ptr("ProvisioningState/failed/" + m.failure.Code)
			status.Message = to.Ptr(m.failure.Message)
		}
		view.Statuses = append(view.Statuses, status)
		if m.power != "" {
			view.Statuses = append(view.Statuses, &armcompute.InstanceViewStatus{Code: to.Ptr("PowerState/" + m.power)})
		}
		vm.Properties.InstanceView = view
	}
	return vm
}
