package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a VirtualMachine whose disks are files and whose guest runs.
type machine struct {
	*simulator.VirtualMachine
	v *VCenter
}

// run is a VM that is switched on.
type run struct {
	name  string   // under which its guest knows it
	files []string // descriptors of its disks, which are locked
}

// task starts work on the VM, which waits for the others on it, and finds it
// gone if one of those has destroyed it.
func (m *machine) task(ctx *simulator.Context, name, method string, do work) types.ManagedObjectReference {
	ref := m.Reference()
	return m.v.task(ctx, m.VirtualMachine, name, method, func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
		gate := m.v.gate(ref)
		gate.Lock()
		defer gate.Unlock()
		if ctx.Map.Get(ref) == nil {
			return nil, notFound(ref)
		}
		return do(ctx)
	})
}

func (m *machine) state(ctx *simulator.Context) (state types.VirtualMachinePowerState, template bool) {
	ctx.WithLock(m.VirtualMachine, func() { state, template = m.Runtime.PowerState, m.Config.Template })
	return state, template
}

// PowerOnVMTask implements PowerOnVM_Task.
func (m *machine) PowerOnVMTask(ctx *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{
		Returnval: m.task(ctx, "powerOn", "PowerOnVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, m.powerOn(ctx)
		}),
	}}
}

// PowerOffVMTask implements PowerOffVM_Task.
func (m *machine) PowerOffVMTask(ctx *simulator.Context, _ *types.PowerOffVM_Task) soap.HasFault {
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{
		Returnval: m.task(ctx, "powerOff", "PowerOffVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, m.powerOff(ctx, true)
		}),
	}}
}

// ResetVMTask implements ResetVM_Task.
func (m *machine) ResetVMTask(ctx *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{
		Returnval: m.task(ctx, "reset", "ResetVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if fault := m.powerOff(ctx, true); fault != nil {
				return nil, fault
			}
			return nil, m.powerOn(ctx)
		}),
	}}
}

// RenameTask implements Rename_Task. The simulator's looks for the name as its
// FindChild does, see searchIndex.
func (m *machine) RenameTask(ctx *simulator.Context, req *types.Rename_Task) soap.HasFault {
	return &methods.Rename_TaskBody{Res: &types.Rename_TaskResponse{
		Returnval: m.task(ctx, "rename", "Rename_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, m.rename(ctx, req.NewName)
		}),
	}}
}

func (m *machine) rename(ctx *simulator.Context, name string) types.BaseMethodFault {
	m.v.storing.Lock()
	defer m.v.storing.Unlock()
	var parent types.ManagedObjectReference
	ctx.WithLock(m.VirtualMachine, func() { parent = *m.Parent })
	f, ok := ctx.Map.Get(parent).(*simulator.Folder)
	if !ok {
		return notFound(parent)
	}
	if fault := checkName(ctx, f, name); fault != nil {
		return fault
	}
	ctx.Map.AtomicUpdate(ctx, m.VirtualMachine, []types.PropertyChange{{Name: "name", Val: name}})
	return nil
}

// SuspendVMTask implements SuspendVM_Task: guests cannot be suspended.
func (m *machine) SuspendVMTask(*simulator.Context, *types.SuspendVM_Task) soap.HasFault {
	return &methods.SuspendVM_TaskBody{Fault_: simulator.Fault("guests of the lab cannot be suspended", &types.NotSupported{})}
}

// ShutdownGuest implements the method of that name: the guests have no VMware
// Tools.
func (m *machine) ShutdownGuest(*simulator.Context, *types.ShutdownGuest) soap.HasFault {
	return &methods.ShutdownGuestBody{Fault_: simulator.Fault("", &types.ToolsUnavailable{})}
}

// StandbyGuest implements the method of that name, see ShutdownGuest.
func (m *machine) StandbyGuest(*simulator.Context, *types.StandbyGuest) soap.HasFault {
	return &methods.StandbyGuestBody{Fault_: simulator.Fault("", &types.ToolsUnavailable{})}
}

// powerOn starts the guest and then says so. The caller holds the VM's gate.
func (m *machine) powerOn(ctx *simulator.Context) types.BaseMethodFault {
	state, template := m.state(ctx)
	switch {
	case template:
		return &types.InvalidState{}
	case state == types.VirtualMachinePowerStatePoweredOn:
		return &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: state}
	}
	vm, disks, fault := m.describe(ctx)
	if fault != nil {
		return fault
	}
	if fault := m.v.switchOn(m.Self, vm.Name, disks); fault != nil {
		return fault
	}
	if m.v.cfg.Guests != nil {
		if err := m.v.cfg.Guests.PowerOn(vm); err != nil {
			m.v.switchOff(m.Self)
			return guestFault(err)
		}
	}
	_, fault = wait(ctx, m.VirtualMachine.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: m.Self}).(*methods.PowerOnVM_TaskBody).Res.Returnval)
	if fault != nil {
		m.endGuest()
		m.v.switchOff(m.Self)
	}
	return fault
}

// powerOff ends the guest, unless it has ended by itself, and then says so. The
// caller holds the VM's gate.
func (m *machine) powerOff(ctx *simulator.Context, end bool) types.BaseMethodFault {
	state, _ := m.state(ctx)
	if state == types.VirtualMachinePowerStatePoweredOff {
		return &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: state}
	}
	if end {
		m.endGuest()
	}
	_, fault := wait(ctx, m.VirtualMachine.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: m.Self}).(*methods.PowerOffVM_TaskBody).Res.Returnval)
	m.v.switchOff(m.Self)
	return fault
}

func (m *machine) endGuest() {
	if r, on := m.v.running(m.Self); on && m.v.cfg.Guests != nil {
		m.v.cfg.Guests.PowerOff(r.name)
	}
}

// datacenter is a Datacenter that switches on our machines.
type datacenter struct {
	*simulator.Datacenter
	v *VCenter
}

// PowerOnMultiVMTask implements PowerOnMultiVM_Task, without recommendations.
func (d *datacenter) PowerOnMultiVMTask(ctx *simulator.Context, req *types.PowerOnMultiVM_Task) soap.HasFault {
	return &methods.PowerOnMultiVM_TaskBody{Res: &types.PowerOnMultiVM_TaskResponse{
		Returnval: d.v.task(ctx, d.Datacenter, "powerOnMultiVM", "PowerOnMultiVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			res := types.ClusterPowerOnVmResult{Attempted: []types.ClusterAttemptedVmInfo{}}
			for _, ref := range req.Vm {
				vm, ok := ctx.Map.Get(ref).(*simulator.VirtualMachine)
				if !ok {
					return nil, notFound(ref)
				}
				m := &machine{VirtualMachine: vm, v: d.v}
				task := m.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: ref}).(*methods.PowerOnVM_TaskBody).Res.Returnval
				res.Attempted = append(res.Attempted, types.ClusterAttemptedVmInfo{Vm: ref, Task: &task})
			}
			return res, nil
		}),
	}}
}

// GuestEnded says that the guest of a VM, which was switched on under that
// name, has switched itself off: the VM is then poweredOff. Guests.PowerOff is
// not called. A method of Guests must not call it: it waits for those.
func (v *VCenter) GuestEnded(vm string) {
	v.mu.Lock()
	var refs []types.ManagedObjectReference
	for ref, r := range v.runs {
		if r.name == vm {
			refs = append(refs, ref)
		}
	}
	v.mu.Unlock()
	for _, ref := range refs {
		ctx := ownContext(v.model.Service.Context)
		gate := v.gate(ref)
		gate.Lock()
		if o, ok := ctx.Map.Get(ref).(*simulator.VirtualMachine); ok {
			// That somebody has switched it off meanwhile is as good.
			_ = (&machine{VirtualMachine: o, v: v}).powerOff(ctx, false)
		}
		gate.Unlock()
	}
}

// running gives the run of a VM that is switched on.
func (v *VCenter) running(ref types.ManagedObjectReference) (run, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.runs[ref]
	return r, ok
}

// switchOn notes that a VM runs, and locks its disks.
func (v *VCenter) switchOn(ref types.ManagedObjectReference, name string, disks []vmDisk) types.BaseMethodFault {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return &types.HostNotConnected{}
	}
	r := run{name: name}
	for _, d := range disks {
		if _, taken := v.locks[d.descriptor]; taken {
			return fileLocked(d.Name)
		}
		r.files = append(r.files, d.descriptor)
	}
	for _, f := range r.files {
		v.locks[f] = ref
	}
	v.runs[ref] = r
	return nil
}

// switchOff takes switchOn back.
func (v *VCenter) switchOff(ref types.ManagedObjectReference) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for file, holder := range v.locks {
		if holder == ref {
			delete(v.locks, file)
		}
	}
	delete(v.runs, ref)
}

// lock locks one more disk for a running VM.
func (v *VCenter) lock(ref types.ManagedObjectReference, file string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, taken := v.locks[file]; taken {
		return false
	}
	v.locks[file] = ref
	return true
}

// unlock is for a disk that a running VM does not have any more.
func (v *VCenter) unlock(file string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.locks, file)
}

// lockedBelow reports whether a file, or one in a directory, is a disk of a
// running VM.
func (v *VCenter) lockedBelow(path string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for file := range v.locks {
		if within(path, file) || within(path, flatPath(file)) {
			return true
		}
	}
	return false
}
