package vcenter

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// CloneVMTask implements CloneVM_Task. Other than the simulator's, it copies
// what is on the disks, the firmware and the advanced settings. It makes full
// clones only, and takes of the location its datastore, pool and host.
func (m *machine) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{
		Returnval: m.task(ctx, "clone", "CloneVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			clone, fault := m.clone(ctx, req)
			if fault != nil {
				return nil, fault
			}
			return clone.Self, nil
		}),
	}}
}

// clone makes a clone, or nothing. The caller holds the VM's gate.
func (m *machine) clone(ctx *simulator.Context, req *types.CloneVM_Task) (*simulator.VirtualMachine, types.BaseMethodFault) {
	into, ok := ctx.Map.Get(req.Folder).(*simulator.Folder)
	if !ok {
		return nil, &types.InvalidArgument{InvalidProperty: "folder"}
	}
	if state, _ := m.state(ctx); state != types.VirtualMachinePowerStatePoweredOff {
		return nil, &types.NotSupported{} // there are no snapshots to clone from
	}
	create, fault := m.cloneSpec(ctx, req)
	if fault != nil {
		return nil, fault
	}
	vm, fault := m.v.create(ctx, into, create)
	if fault != nil {
		return nil, fault
	}
	clone := &machine{VirtualMachine: vm, v: m.v}
	if fault := m.completeClone(ctx, clone, &req.Spec); fault != nil {
		if undone := clone.destroy(ctx); undone != nil {
			return nil, undone
		}
		return nil, fault
	}
	return vm, nil
}

// cloneSpec says which VM a clone is before it has content.
func (m *machine) cloneSpec(ctx *simulator.Context, req *types.CloneVM_Task) (*types.CreateVM_Task, types.BaseMethodFault) {
	var (
		create  = &types.CreateVM_Task{This: req.Folder}
		config  = &create.Config
		devices object.VirtualDeviceList
		at      object.DatastorePath
		fault   types.BaseMethodFault
	)
	ctx.WithLock(m.VirtualMachine, func() {
		pool := req.Spec.Location.Pool
		if pool == nil && !m.Config.Template {
			pool = m.ResourcePool
		}
		if pool == nil {
			fault = &types.InvalidArgument{InvalidProperty: "spec.location.pool"}
			return
		}
		create.Pool = *pool
		create.Host = req.Spec.Location.Host
		if !at.FromString(m.Config.Files.VmPathName) {
			fault = &types.InvalidDatastorePath{DatastorePath: m.Config.Files.VmPathName}
			return
		}
		config.Name = req.Name
		config.Version, config.GuestId = m.Config.Version, m.Config.GuestId
		config.Firmware, config.Annotation = m.Config.Firmware, m.Config.Annotation
		config.NumCPUs, config.MemoryMB = m.Config.Hardware.NumCPU, int64(m.Config.Hardware.MemoryMB)
		config.NumCoresPerSocket = m.Config.Hardware.NumCoresPerSocket
		config.ExtraConfig = slices.Clone(m.Config.ExtraConfig)
		devices, fault = copyDevices(m.Config.Hardware.Device)
	})
	if fault != nil {
		return nil, fault
	}
	if ref := req.Spec.Location.Datastore; ref != nil {
		ds, ok := ctx.Map.Get(*ref).(*simulator.Datastore)
		if !ok {
			return nil, notFound(*ref)
		}
		at.Datastore = ds.Name
	}
	config.Files = &types.VirtualMachineFileInfo{VmPathName: (&object.DatastorePath{Datastore: at.Datastore}).String()}
	config.DeviceChange = cloneDevices(devices, at.Datastore)
	if c := req.Spec.Config; c != nil {
		config.ExtraConfig = append(config.ExtraConfig, c.ExtraConfig...)
		config.NumCPUs = cmp.Or(c.NumCPUs, config.NumCPUs)
		config.MemoryMB = cmp.Or(c.MemoryMB, config.MemoryMB)
		config.Firmware = cmp.Or(c.Firmware, config.Firmware)
		config.Annotation = cmp.Or(c.Annotation, config.Annotation)
		config.GuestId = cmp.Or(c.GuestId, config.GuestId)
		config.Uuid, config.InstanceUuid = c.Uuid, c.InstanceUuid
	}
	return create, nil
}

// cloneDevices are the devices to make: disks get new files, and those that the
// simulator gives to every VM are not made twice.
func cloneDevices(devices object.VirtualDeviceList, datastore string) []types.BaseVirtualDeviceConfigSpec {
	common := object.VirtualDeviceList(esx.VirtualDevice)
	var changes []types.BaseVirtualDeviceConfigSpec
	for _, d := range devices {
		if common.FindByKey(d.GetVirtualDevice().Key) != nil {
			continue
		}
		spec := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
		if disk, backing := flatDisk(d); disk != nil {
			spec.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
			backing.FileName = (&object.DatastorePath{Datastore: datastore}).String()
			backing.Datastore, backing.Parent, backing.Uuid = nil, nil, ""
		}
		if card, ok := d.(types.BaseVirtualEthernetCard); ok {
			card.GetVirtualEthernetCard().MacAddress = ""
		}
		changes = append(changes, spec)
	}
	return changes
}

// completeClone gives a clone its content and the rest of what was asked for.
func (m *machine) completeClone(ctx *simulator.Context, clone *machine, spec *types.VirtualMachineCloneSpec) types.BaseMethodFault {
	from, fault := m.images(ctx)
	if fault != nil {
		return fault
	}
	to, fault := clone.images(ctx)
	if fault != nil {
		return fault
	}
	for i := range min(len(from), len(to)) {
		if err := from[i].copyTo(to[i]); err != nil {
			return fileFault(clone.Name, err)
		}
	}
	changes := slices.Clone(spec.Location.DeviceChange)
	if spec.Config != nil {
		changes = append(changes, spec.Config.DeviceChange...)
	}
	if len(changes) > 0 {
		if fault := clone.reconfigure(ctx, &types.VirtualMachineConfigSpec{DeviceChange: changes}); fault != nil {
			return fault
		}
	}
	switch {
	case spec.Template:
		var res soap.HasFault
		ctx.WithLock(clone.VirtualMachine, func() {
			res = clone.MarkAsTemplate(&types.MarkAsTemplate{This: clone.Self})
		})
		if f := res.Fault(); f != nil {
			return &types.InvalidState{}
		}
	case spec.PowerOn:
		return clone.powerOn(ctx)
	}
	return nil
}

// images gives the VM's disks in the order of its devices.
func (m *machine) images(ctx *simulator.Context) ([]image, types.BaseMethodFault) {
	var all []image
	for _, d := range m.devices(ctx) {
		disk, backing := flatDisk(d)
		if disk == nil {
			continue
		}
		img, fault := m.v.settled(disk, backing)
		if fault != nil {
			return nil, fault
		}
		all = append(all, img)
	}
	return all, nil
}

// copyDevices makes a deep copy, by way of the wire's format.
func copyDevices(devices []types.BaseVirtualDevice) (object.VirtualDeviceList, types.BaseMethodFault) {
	var text bytes.Buffer
	if err := xml.NewEncoder(&text).Encode(types.ArrayOfVirtualDevice{VirtualDevice: devices}); err != nil {
		return nil, guestFault(err)
	}
	decoder := xml.NewDecoder(&text)
	decoder.TypeFunc = types.TypeFunc()
	var all types.ArrayOfVirtualDevice
	if err := decoder.Decode(&all); err != nil {
		return nil, guestFault(err)
	}
	return all.VirtualDevice, nil
}
