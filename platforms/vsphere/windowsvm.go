package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms/patience"
)

// guestIDs are vSphere's names of Windows by the first build of each, the newest
// first: of clients and of servers. An older vSphere does not know the newer
// ones and is given the next.
var guestIDs = []struct {
	build          int
	client, server types.VirtualMachineGuestOsIdentifier
}{
	{26100, types.VirtualMachineGuestOsIdentifierWindows11_64Guest, types.VirtualMachineGuestOsIdentifierWindows2022srvNext_64Guest},
	{22000, types.VirtualMachineGuestOsIdentifierWindows11_64Guest, types.VirtualMachineGuestOsIdentifierWindows2019srvNext_64Guest},
	{20348, types.VirtualMachineGuestOsIdentifierWindows9_64Guest, types.VirtualMachineGuestOsIdentifierWindows2019srvNext_64Guest},
	{17763, types.VirtualMachineGuestOsIdentifierWindows9_64Guest, types.VirtualMachineGuestOsIdentifierWindows2019srv_64Guest},
	{10240, types.VirtualMachineGuestOsIdentifierWindows9_64Guest, types.VirtualMachineGuestOsIdentifierWindows9Server64Guest},
	{9200, types.VirtualMachineGuestOsIdentifierWindows8_64Guest, types.VirtualMachineGuestOsIdentifierWindows8Server64Guest},
	{7600, types.VirtualMachineGuestOsIdentifierWindows7_64Guest, types.VirtualMachineGuestOsIdentifierWindows7Server64Guest},
	{6000, types.VirtualMachineGuestOsIdentifierWinVista64Guest, types.VirtualMachineGuestOsIdentifierWinLonghorn64Guest},
}

// guests gives the names for the Windows on the disk, the best first.
func guests(build int, server bool) []string {
	var ids []string
	for _, g := range guestIDs {
		id := string(g.client)
		if server {
			id = string(g.server)
		}
		if build >= g.build && (len(ids) == 0 || ids[len(ids)-1] != id) {
			ids = append(ids, id)
		}
	}
	return append(ids, string(types.VirtualMachineGuestOsIdentifierOtherGuest64))
}

var firmwares = map[job.Firmware]types.GuestOsDescriptorFirmwareType{
	job.BIOS: types.GuestOsDescriptorFirmwareTypeBios,
	job.UEFI: types.GuestOsDescriptorFirmwareTypeEfi,
}

// windowsVM is a VM around a disk with a Windows on it.
type windowsVM struct {
	name       string
	build      int // of the Windows, 0 if it is not known
	server     bool
	firmware   job.Firmware
	controller job.Controller
	disk       diskName
	mode       types.VirtualDiskMode
	home       *entity // the datastore that its configuration goes to
	cpus       int
	memoryMB   int
	nic        *types.VirtualDeviceConfigSpec // nil for none
	marks      []types.BaseOptionValue
}

// spec gives what makes the VM, under one of vSphere's names of Windows.
func (w *windowsVM) spec(guestID string) types.VirtualMachineConfigSpec {
	spec := types.VirtualMachineConfigSpec{
		Name: w.name, GuestId: guestID, Firmware: string(firmwares[w.firmware]),
		NumCPUs: int32(w.cpus), MemoryMB: int64(w.memoryMB),
		Files:       &types.VirtualMachineFileInfo{VmPathName: datastorePath(w.home, "")},
		BootOptions: &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(false)},
		ExtraConfig: w.marks,
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: newDiskController(w.controller, firstBusNumber),
			},
			&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd,
				Device: &types.VirtualDisk{VirtualDevice: types.VirtualDevice{
					Key: -2, ControllerKey: newController, UnitNumber: types.NewInt32(0),
					Backing: &types.VirtualDiskFlatVer2BackingInfo{
						VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: w.disk.String(), Datastore: &w.disk.datastore.ref},
						DiskMode:                     string(w.mode),
					},
				}},
			},
		},
	}
	if w.nic != nil {
		w.nic.Device.GetVirtualDevice().Key = -3
		spec.DeviceChange = append(spec.DeviceChange, w.nic)
	}
	return spec
}

// makeWindowsVM makes the VM in one task, under the best name of its Windows that
// this vSphere knows. That somebody else has made one of that name meanwhile is a
// success.
func (d *Driver) makeWindowsVM(ctx context.Context, s *site, folder types.ManagedObjectReference, on *types.ManagedObjectReference, w windowsVM) error {
	var host *object.HostSystem
	if on != nil {
		host = object.NewHostSystem(d.client, *on)
	}
	ids := guests(w.build, w.server)
	for i, id := range ids {
		_, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) {
			return object.NewFolder(d.client, folder).CreateVM(ctx, w.spec(id), object.NewResourcePool(d.client, s.pool.ref), host)
		})
		if unknownGuest(err) && i < len(ids)-1 {
			continue
		}
		if _, ok := faultOf(err).(*types.DuplicateName); ok {
			found, lookErr := d.child(ctx, folder, w.name)
			if lookErr == nil && found == nil {
				return fmt.Errorf("somebody else makes a VM of that name: %w", patience.ErrContended)
			}
			return lookErr
		}
		return err
	}
	return nil
}

// unknownGuest reports whether this vSphere does not know the name of the Windows.
func unknownGuest(err error) bool {
	switch f := faultOf(err).(type) {
	case *types.UnsupportedGuest:
		return true
	case types.BaseInvalidArgument:
		return strings.HasSuffix(f.GetInvalidArgument().InvalidProperty, "guestId")
	}
	return false
}
