package vcenter

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// ReconfigVMTask implements ReconfigVM_Task.
func (m *machine) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{
		Returnval: m.task(ctx, "reconfigure", "ReconfigVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, m.reconfigure(ctx, &req.Spec)
		}),
	}}
}

// reconfigure changes the VM, and its guest's disks if it runs. The caller
// holds the VM's gate. Other than the simulator, it does not change one that was
// changed since the client read it, if the client cares
// (VirtualMachineConfigSpec.changeVersion).
func (m *machine) reconfigure(ctx *simulator.Context, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	var version string
	ctx.WithLock(m.VirtualMachine, func() { version = m.Config.ChangeVersion })
	if spec.ChangeVersion != "" && spec.ChangeVersion != version {
		return &types.ConcurrentAccess{}
	}
	if fault := m.change(ctx, spec); fault != nil {
		return fault
	}
	return m.attachNew(ctx, spec.DeviceChange)
}

// change changes the VM's configuration and files, and takes the disks that are
// removed from its guest.
func (m *machine) change(ctx *simulator.Context, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	m.v.storing.Lock()
	defer m.v.storing.Unlock()
	before := m.devices(ctx)
	if fault := m.checkChanges(ctx, before, spec.DeviceChange); fault != nil {
		return fault
	}
	released, fault := m.release(before, spec.DeviceChange)
	if fault != nil {
		return fault
	}
	fault = m.apply(ctx, *spec)
	if fault == nil {
		fault = m.v.settle(ctx, m.VirtualMachine)
	}
	if fault != nil {
		return m.giveBack(released, fault)
	}
	return nil
}

// apply is the simulator's part.
func (m *machine) apply(ctx *simulator.Context, spec types.VirtualMachineConfigSpec) types.BaseMethodFault {
	res := m.VirtualMachine.ReconfigVMTask(ctx, &types.ReconfigVM_Task{This: m.Self, Spec: spec})
	_, fault := wait(ctx, res.(*methods.ReconfigVM_TaskBody).Res.Returnval)
	return fault
}

func (m *machine) devices(ctx *simulator.Context) (devices []types.BaseVirtualDevice) {
	ctx.WithLock(m.VirtualMachine, func() { devices = slices.Clone(m.Config.Hardware.Device) })
	return devices
}

// byKey gives the disk of that key.
func byKey(devices []types.BaseVirtualDevice, key int32) *types.VirtualDisk {
	for _, d := range devices {
		if disk, _ := flatDisk(d); disk != nil && disk.Key == key {
			return disk
		}
	}
	return nil
}

// checkChanges refuses changes of disks that a vCenter refuses.
func (m *machine) checkChanges(ctx *simulator.Context, before []types.BaseVirtualDevice, changes []types.BaseVirtualDeviceConfigSpec) types.BaseMethodFault {
	for i, c := range changes {
		spec := c.GetVirtualDeviceConfigSpec()
		if spec.Device == nil {
			return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		}
		if fault := checkNetwork(ctx, spec); fault != nil {
			return fault
		}
		disk, backing := flatDisk(spec.Device)
		if disk == nil {
			continue
		}
		switch spec.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			if fault := m.v.checkNewDisk(spec, false); fault != nil {
				return fault
			}
		case types.VirtualDeviceConfigSpecOperationRemove:
			old := byKey(before, disk.Key)
			if old == nil {
				return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
			}
			// The simulator deletes what the client says the disk's file is.
			spec.Device = old
		case types.VirtualDeviceConfigSpecOperationEdit:
			old := byKey(before, disk.Key)
			if old == nil {
				return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
			}
			if fault := m.v.grow(disk, backing.FileName); fault != nil {
				return fault
			}
		}
	}
	return nil
}

// grow extends the file of a disk that is given a larger capacity.
func (v *VCenter) grow(disk *types.VirtualDisk, name string) types.BaseMethodFault {
	path, fault := v.resolve(name)
	if fault != nil {
		return fault
	}
	img, err := readImage(path)
	if err != nil {
		return fileFault(name, err)
	}
	if size := max(disk.CapacityInBytes, disk.CapacityInKB<<10); size > img.sizeBytes {
		if _, err := img.grow(size); err != nil {
			return fileFault(name, err)
		}
	}
	return nil
}

// release takes the disks that are to be removed from a running guest.
func (m *machine) release(before []types.BaseVirtualDevice, changes []types.BaseVirtualDeviceConfigSpec) ([]vmDisk, types.BaseMethodFault) {
	r, on := m.v.running(m.Self)
	if !on {
		return nil, nil
	}
	var released []vmDisk
	for _, c := range changes {
		spec := c.GetVirtualDeviceConfigSpec()
		disk, _ := flatDisk(spec.Device)
		if disk == nil || spec.Operation != types.VirtualDeviceConfigSpecOperationRemove {
			continue
		}
		d, fault := m.v.disk(byKey(before, disk.Key))
		if fault != nil {
			return nil, m.giveBack(released, fault)
		}
		if m.v.cfg.Guests != nil {
			if err := m.v.cfg.Guests.Detach(r.name, d.Disk); err != nil {
				return nil, m.giveBack(released, guestFault(err))
			}
		}
		m.v.unlock(d.descriptor)
		released = append(released, d)
	}
	return released, nil
}

// giveBack undoes release after a fault, which it gives.
func (m *machine) giveBack(released []vmDisk, fault types.BaseMethodFault) types.BaseMethodFault {
	r, on := m.v.running(m.Self)
	for _, d := range released {
		if on && m.v.lock(m.Self, d.descriptor) && m.v.cfg.Guests != nil {
			// There is a fault already; a guest that does not take its disk back
			// has lost it, as by a broken cable.
			_ = m.v.cfg.Guests.Attach(r.name, d.Disk)
		}
	}
	return fault
}

// attachNew gives the disks that were added to a running guest. One that it
// does not take is removed again, with its file if that is new.
func (m *machine) attachNew(ctx *simulator.Context, changes []types.BaseVirtualDeviceConfigSpec) types.BaseMethodFault {
	r, on := m.v.running(m.Self)
	if !on {
		return nil
	}
	after := m.devices(ctx)
	for _, c := range changes {
		spec := c.GetVirtualDeviceConfigSpec()
		if spec.Operation != types.VirtualDeviceConfigSpecOperationAdd {
			continue
		}
		disk := byKey(after, spec.Device.GetVirtualDevice().Key) // the simulator has set the key
		if disk == nil {
			continue
		}
		if fault := m.attach(r, disk); fault != nil {
			undo := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk}
			if spec.FileOperation != "" {
				undo.FileOperation = types.VirtualDeviceConfigSpecFileOperationDestroy
			}
			if undone := m.apply(ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{undo}}); undone != nil {
				return undone
			}
			return fault
		}
	}
	return nil
}

func (m *machine) attach(r run, disk *types.VirtualDisk) types.BaseMethodFault {
	d, fault := m.v.disk(disk)
	if fault != nil {
		return fault
	}
	if !m.v.lock(m.Self, d.descriptor) {
		return fileLocked(d.Name)
	}
	if m.v.cfg.Guests == nil {
		return nil
	}
	if err := m.v.cfg.Guests.Attach(r.name, d.Disk); err != nil {
		m.v.unlock(d.descriptor)
		return guestFault(err)
	}
	return nil
}
