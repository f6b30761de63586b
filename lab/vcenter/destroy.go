package vcenter

import (
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// DestroyTask implements Destroy_Task: the VM, the files of every disk it has
// attached, wherever they are, and its directory.
func (m *machine) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{
		Returnval: m.task(ctx, "destroy", "Destroy_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, m.destroy(ctx)
		}),
	}}
}

// destroy is the work of DestroyTask. The caller holds the VM's gate.
//
// It does not use the simulator's, which deletes the directory when the task
// has long been done, and by then perhaps that of the next VM of the name.
func (m *machine) destroy(ctx *simulator.Context) types.BaseMethodFault {
	var (
		vmx, name string
		devices   = m.devices(ctx)
	)
	ctx.WithLock(m.VirtualMachine, func() { vmx, name = m.Config.Files.VmPathName, m.Name })
	home, fault := m.v.home(vmx, name)
	if fault != nil {
		return fault
	}
	m.v.storing.Lock()
	defer m.v.storing.Unlock()
	var unregistered soap.HasFault
	ctx.WithLock(m.VirtualMachine, func() {
		unregistered = m.VirtualMachine.UnregisterVM(ctx, &types.UnregisterVM{This: m.Self})
	})
	if f := unregistered.Fault(); f != nil {
		if fault, ok := f.VimFault().(types.BaseMethodFault); ok {
			return fault
		}
		return &types.InvalidState{}
	}
	for _, d := range devices {
		disk, backing := flatDisk(d)
		if disk == nil {
			continue
		}
		path, fault := m.v.resolve(backing.FileName)
		if fault != nil {
			return fault
		}
		if m.v.lockedBelow(path) {
			continue // another VM runs with it
		}
		if err := (image{path: path, flat: flatPath(path)}).remove(); err != nil {
			return fileFault(backing.FileName, err)
		}
	}
	for _, dir := range m.v.datastores {
		if home == dir {
			return nil // a VM at the top of a datastore has no directory of its own
		}
	}
	if err := os.RemoveAll(home); err != nil {
		return fileFault(vmx, err)
	}
	return nil
}
