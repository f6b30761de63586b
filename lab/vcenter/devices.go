package vcenter

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
	"imageport/platforms"
)

// flatDisk gives a device as a disk that is an image, nil if it is not one.
func flatDisk(d types.BaseVirtualDevice) (*types.VirtualDisk, *types.VirtualDiskFlatVer2BackingInfo) {
	disk, ok := d.(*types.VirtualDisk)
	if !ok {
		return nil, nil
	}
	backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return nil, nil
	}
	return disk, backing
}

func isTrue(b *bool) bool { return b != nil && *b }

// resolve gives the path on this machine of "[LocalDS_0] images/x.vmdk".
func (v *VCenter) resolve(name string) (string, types.BaseMethodFault) {
	var p object.DatastorePath
	if !p.FromString(name) || p.Path != "" && !filepath.IsLocal(p.Path) {
		return "", &types.InvalidDatastorePath{DatastorePath: name}
	}
	dir, ok := v.datastores[p.Datastore]
	if !ok {
		return "", &types.InvalidDatastorePath{DatastorePath: name, InvalidDatastore: types.InvalidDatastore{Name: p.Datastore}}
	}
	return filepath.Join(dir, p.Path), nil
}

// within reports whether path is dir or below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// settle makes what the simulator has left of the VM's disks what it should
// be: files where it made new disks without content, and the devices as their
// descriptors have them where it believed the client.
func (v *VCenter) settle(ctx *simulator.Context, vm *simulator.VirtualMachine) (fault types.BaseMethodFault) {
	ctx.WithLock(vm, func() {
		devices := slices.Clone(vm.Config.Hardware.Device)
		for i, d := range devices {
			disk, backing := flatDisk(d)
			if disk == nil {
				continue
			}
			var img image
			if img, fault = v.settled(disk, backing); fault != nil {
				return
			}
			devices[i] = deviceOf(disk, backing, img)
		}
		ctx.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
	})
	return fault
}

// settled gives the image of a disk, and makes it if it is new.
func (v *VCenter) settled(disk *types.VirtualDisk, backing *types.VirtualDiskFlatVer2BackingInfo) (image, types.BaseMethodFault) {
	path, fault := v.resolve(backing.FileName)
	if fault != nil {
		return image{}, fault
	}
	img, err := readImage(path)
	if err == nil && img.uuid == "" {
		img, err = makeImage(path, disk.CapacityInBytes, isTrue(backing.ThinProvisioned))
	}
	if err != nil {
		return image{}, fileFault(backing.FileName, err)
	}
	return img, nil
}

// deviceOf gives a copy of a disk, as somebody may be reading the disk, with
// what its image says.
func deviceOf(disk *types.VirtualDisk, backing *types.VirtualDiskFlatVer2BackingInfo, img image) *types.VirtualDisk {
	d, b := *disk, *backing
	b.Uuid = img.uuid
	b.ThinProvisioned = types.NewBool(img.thin)
	d.Backing = &b
	d.CapacityInBytes, d.CapacityInKB = img.sizeBytes, img.sizeBytes>>10
	if d.DeviceInfo != nil {
		d.DeviceInfo = &types.Description{
			Label:   d.DeviceInfo.GetDescription().Label,
			Summary: fmt.Sprintf("%d KB", d.CapacityInKB),
		}
	}
	return &d
}

// vmDisk is a disk whose files are there.
type vmDisk struct {
	guest.Disk
	descriptor string // on this machine
}

// describe says what a guest starts from, and gives its disks once more with
// their descriptors.
func (m *machine) describe(ctx *simulator.Context) (guest.VM, []vmDisk, types.BaseMethodFault) {
	var (
		vm      guest.VM
		carried string // the seed as it is in the settings
		devices []types.BaseVirtualDevice
	)
	ctx.WithLock(m.VirtualMachine, func() {
		vm.Name = m.Name
		vm.UUID = strings.ToLower(m.Config.Uuid)
		vm.Firmware = guest.BIOS
		if m.Config.Firmware == string(types.GuestOsDescriptorFirmwareTypeEfi) {
			vm.Firmware = guest.UEFI
		}
		vm.CPUs = int(m.Config.Hardware.NumCPU)
		vm.MemoryMB = int64(m.Config.Hardware.MemoryMB)
		for _, o := range m.Config.ExtraConfig {
			if o.GetOptionValue().Key == media.GuestInfo {
				carried = strings.TrimSpace(fmt.Sprint(o.GetOptionValue().Value))
			}
		}
		devices = m.Config.Hardware.Device
	})
	if carried != "" {
		var err error
		if vm.Seed, err = base64.StdEncoding.DecodeString(carried); err != nil {
			// What it says is not for the fault: there is a token in it.
			return guest.VM{}, nil, guestFault(fmt.Errorf("VM %q: its %s is not in base64", vm.Name, media.GuestInfo))
		}
	}
	disks, fault := m.v.disks(devices)
	for _, d := range disks {
		vm.Disks = append(vm.Disks, d.Disk)
	}
	return vm, disks, fault
}

// disks gives the disks among the devices, in the order of controllers and
// units.
func (v *VCenter) disks(devices []types.BaseVirtualDevice) ([]vmDisk, types.BaseMethodFault) {
	var sorted []*types.VirtualDisk
	for _, d := range devices {
		if disk, _ := flatDisk(d); disk != nil {
			sorted = append(sorted, disk)
		}
	}
	unit := func(d *types.VirtualDisk) int32 {
		if d.UnitNumber == nil {
			return 0
		}
		return *d.UnitNumber
	}
	slices.SortStableFunc(sorted, func(a, b *types.VirtualDisk) int {
		return cmp.Or(cmp.Compare(a.ControllerKey, b.ControllerKey), cmp.Compare(unit(a), unit(b)))
	})
	var disks []vmDisk
	for _, d := range sorted {
		disk, fault := v.disk(d)
		if fault != nil {
			return nil, fault
		}
		disks = append(disks, disk)
	}
	return disks, nil
}

// disk gives a disk whose files are there.
func (v *VCenter) disk(d *types.VirtualDisk) (vmDisk, types.BaseMethodFault) {
	_, backing := flatDisk(d)
	path, fault := v.resolve(backing.FileName)
	if fault != nil {
		return vmDisk{}, fault
	}
	img, err := readImage(path)
	if err != nil {
		return vmDisk{}, fileFault(backing.FileName, err)
	}
	info, err := os.Stat(img.flat)
	if err != nil {
		return vmDisk{}, fileFault(backing.FileName, err)
	}
	if info.Size() != img.sizeBytes {
		return vmDisk{}, fileFault(backing.FileName, fmt.Errorf("%s has %d bytes, its descriptor says %d: %w", img.flat, info.Size(), img.sizeBytes, errNoImage))
	}
	return vmDisk{
		Disk:       guest.Disk{Selector: platforms.BySerial(img.serial()), File: img.flat, SizeBytes: img.sizeBytes, Name: backing.FileName},
		descriptor: path,
	}, nil
}

// checkNewDisk refuses to add a disk that cannot be there, and gives one that
// is attached as it is the capacity it has. inNewHome says that directories may
// come with the VM.
func (v *VCenter) checkNewDisk(spec *types.VirtualDeviceConfigSpec, inNewHome bool) types.BaseMethodFault {
	disk, backing := flatDisk(spec.Device)
	if disk == nil || backing.FileName == "" || strings.HasSuffix(backing.FileName, "]") {
		return nil // none of ours, or the simulator gives it a name
	}
	path, fault := v.resolve(backing.FileName)
	if fault != nil {
		return fault
	}
	switch spec.FileOperation {
	case types.VirtualDeviceConfigSpecFileOperationCreate:
		if _, err := os.Lstat(path); err == nil {
			return fileFault(backing.FileName, fs.ErrExist)
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil && !inNewHome {
			return fileFault(backing.FileName, err)
		}
	case "":
		img, err := readImage(path)
		if err != nil {
			return fileFault(backing.FileName, err)
		}
		if v.lockedBelow(path) {
			return fileLocked(backing.FileName)
		}
		disk.CapacityInBytes, disk.CapacityInKB = img.sizeBytes, img.sizeBytes>>10
	}
	return nil
}

// checkNetwork refuses a network card in a network that is not there, which
// the simulator does not survive.
func checkNetwork(ctx *simulator.Context, spec *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	card, ok := spec.Device.(types.BaseVirtualEthernetCard)
	if !ok {
		return nil
	}
	backing, ok := card.GetVirtualEthernetCard().Backing.(*types.VirtualEthernetCardNetworkBackingInfo)
	if !ok {
		return nil
	}
	for _, o := range ctx.Map.All("Network") {
		if network, ok := o.(*mo.Network); ok && network.Name == backing.DeviceName {
			return nil
		}
	}
	return &types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{
		InvalidVmConfig: types.InvalidVmConfig{Property: "deviceChange.device.backing.deviceName"},
	}}
}
