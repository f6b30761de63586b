package vsphere

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/patience"
)

const (
	// maxVMName is what a vCenter takes, in characters.
	maxVMName = 80
	// An output VM is for its user to size; with this Windows starts.
	outputCPUs, outputMemoryMB = 2, 4096
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

// CheckOutputVM implements platforms.OutputVMs.
func (d *Driver) CheckOutputVM(ctx context.Context, o platforms.OutputVM) error {
	s, err := d.site(ctx)
	if err == nil {
		_, err = s.wantVM(o)
	}
	if err == nil {
		err = d.checkPrivileges(ctx, s, nil, forOutputVM)
	}
	if err == nil {
		err = d.patiently(ctx, func() (bool, error) {
			_, err := d.findOutputVM(ctx, s, o)
			return err == nil, err
		})
	}
	return d.fail("check output VM", o.Name, err)
}

// wantVM refuses what cannot be made, and gives where the disk is.
func (s *site) wantVM(o platforms.OutputVM) (diskName, error) {
	refuse := func(format string, args ...any) (diskName, error) {
		return diskName{}, platforms.Errorf(platforms.BadRequest, "output VM %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case o.Name == "" || len([]rune(o.Name)) > maxVMName || strings.ContainsFunc(o.Name, unicode.IsControl) || strings.ContainsAny(o.Name, `/\%`):
		return refuse(`want 1 to %d characters, and none of / \ %%`, maxVMName)
	case o.Job == "" || o.Owner == "":
		return refuse("no job, or no owner")
	case firmwares[o.Firmware] == "":
		return refuse("firmware %q: want %s or %s", o.Firmware, job.BIOS, job.UEFI)
	case newDiskController(o.Controller, firstBusNumber) == nil:
		return refuse("vSphere has no controller %q", o.Controller)
	}
	return s.parseDiskName(o.Disk)
}

// MakeOutputVM implements platforms.OutputVMs.
func (d *Driver) MakeOutputVM(ctx context.Context, o platforms.OutputVM) (string, error) {
	ref, err := d.makeOutputVM(ctx, o)
	if err != nil {
		return "", d.fail("make output VM", o.Name, err)
	}
	return d.address + "/" + ref.Value, nil
}

func (d *Driver) makeOutputVM(ctx context.Context, o platforms.OutputVM) (ref types.ManagedObjectReference, err error) {
	s, err := d.site(ctx)
	if err != nil {
		return ref, err
	}
	n, err := s.wantVM(o)
	if err != nil {
		return ref, err
	}
	try := guests(o.WindowsBuild, o.Server)
	err = d.patiently(ctx, func() (bool, error) {
		found, err := d.findOutputVM(ctx, s, o)
		if err != nil {
			return false, err
		}
		if found != nil {
			ref = *found
			return true, nil
		}
		err = d.createOutputVM(ctx, s, o, n, try[0])
		if unknownGuest(err) && len(try) > 1 {
			try = try[1:]
			return false, nil
		}
		return false, err
	})
	return ref, err
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

// findOutputVM gives the VM if this job has made it already. It fails with
// Foreign if the name is taken by something else.
func (d *Driver) findOutputVM(ctx context.Context, s *site, o platforms.OutputVM) (*types.ManagedObjectReference, error) {
	found, err := d.look(ctx, s.outputFolder.ref, o.Name)
	if err != nil || found == nil {
		return nil, err
	}
	if found.extra[keyOutputJob] == o.Job && found.extra[keyOutputOwner] == o.Owner {
		return &found.ref, nil
	}
	if found.extra[keyOutputJob] == "" {
		return nil, d.foreign(ctx, found)
	}
	return nil, platforms.Errorf(platforms.Foreign, "the VM of that name (%s) in %s is of job %s of %s",
		found.ref.Value, s.outputFolder.path, found.extra[keyOutputJob], found.extra[keyOutputOwner])
}

// createOutputVM makes the VM with the disk, in one task.
func (d *Driver) createOutputVM(ctx context.Context, s *site, o platforms.OutputVM, n diskName, guest string) error {
	there, err := d.files(ctx, n, n.base())
	if err != nil {
		return err
	}
	if len(there) == 0 {
		return platforms.Errorf(platforms.NotFound, "there is no disk %s", n)
	}
	backing, err := d.backing(ctx, s)
	if err != nil {
		return fmt.Errorf("network %s: %w", s.network.name, err)
	}
	hostRef, err := s.host(o.Name)
	if err != nil {
		return err
	}
	var host *object.HostSystem
	if hostRef != nil {
		host = object.NewHostSystem(d.client, *hostRef)
	}
	nic := adapter(nil, backing)
	nic.Device.GetVirtualDevice().Key = -3
	spec := types.VirtualMachineConfigSpec{
		Name: o.Name, GuestId: guest, Firmware: string(firmwares[o.Firmware]),
		NumCPUs: outputCPUs, MemoryMB: outputMemoryMB,
		// Beside its disk: the two belong together.
		Files:       &types.VirtualMachineFileInfo{VmPathName: datastorePath(n.datastore, "")},
		BootOptions: &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(false)},
		ExtraConfig: options(keyOutputJob, o.Job, keyOutputOwner, o.Owner),
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: newDiskController(o.Controller, firstBusNumber),
			},
			&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd,
				Device: &types.VirtualDisk{VirtualDevice: types.VirtualDevice{
					Key: -2, ControllerKey: newController, UnitNumber: types.NewInt32(0),
					Backing: &types.VirtualDiskFlatVer2BackingInfo{
						VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: n.String(), Datastore: &n.datastore.ref},
						DiskMode:                     string(types.VirtualDiskModePersistent),
					},
				}},
			},
			nic,
		},
	}
	_, err = d.run(ctx, func(ctx context.Context) (*object.Task, error) {
		return object.NewFolder(d.client, s.outputFolder.ref).CreateVM(ctx, spec, object.NewResourcePool(d.client, s.pool.ref), host)
	})
	if _, ok := faultOf(err).(*types.DuplicateName); ok {
		found, lookErr := d.child(ctx, s.outputFolder.ref, o.Name)
		if lookErr == nil && found == nil {
			return fmt.Errorf("somebody else makes a VM of that name: %w", patience.ErrContended)
		}
		return lookErr
	}
	return err
}
