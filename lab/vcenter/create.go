package vcenter

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// folder is a Folder in which names of VMs are unique and new disks are files.
type folder struct {
	*simulator.Folder
	v *VCenter
}

// CreateVMTask implements CreateVM_Task.
func (f *folder) CreateVMTask(ctx *simulator.Context, req *types.CreateVM_Task) soap.HasFault {
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{
		Returnval: f.v.task(ctx, f.Folder, "createVm", "CreateVM_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			vm, fault := f.v.create(ctx, f.Folder, req)
			if fault != nil {
				return nil, fault
			}
			return vm.Self, nil
		}),
	}}
}

// checkName refuses a name that a VM or folder in the folder has. The caller
// holds storing.
func checkName(ctx *simulator.Context, f *simulator.Folder, name string) types.BaseMethodFault {
	var children []types.ManagedObjectReference
	ctx.WithLock(f, func() { children = slices.Clone(f.ChildEntity) })
	for _, ref := range children {
		e, ok := ctx.Map.Get(ref).(mo.Entity)
		if !ok {
			continue
		}
		var taken bool
		ctx.WithLock(e, func() { taken = e.Entity().Name == name })
		if taken {
			return &types.DuplicateName{Name: name, Object: ref}
		}
	}
	return nil
}

// create makes a VM with its files, or nothing.
func (v *VCenter) create(ctx *simulator.Context, f *simulator.Folder, req *types.CreateVM_Task) (*simulator.VirtualMachine, types.BaseMethodFault) {
	v.storing.Lock()
	defer v.storing.Unlock()
	if fault := checkName(ctx, f, req.Config.Name); fault != nil {
		return nil, fault
	}
	home, fault := v.checkCreate(ctx, req)
	if fault != nil {
		return nil, fault
	}
	_, err := os.Lstat(home)
	isNew := errors.Is(err, fs.ErrNotExist)
	res := f.CreateVMTask(ctx, req)
	made, fault := wait(ctx, res.(*methods.CreateVM_TaskBody).Res.Returnval)
	if fault != nil {
		if isNew {
			if err := os.RemoveAll(home); err != nil {
				return nil, fileFault(req.Config.Name, err)
			}
		}
		return nil, fault
	}
	ref, _ := made.(types.ManagedObjectReference)
	vm, ok := ctx.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return nil, notFound(ref)
	}
	return vm, v.settle(ctx, vm)
}

// checkCreate refuses what cannot be made, and gives the path of the directory
// that the VM will have.
func (v *VCenter) checkCreate(ctx *simulator.Context, req *types.CreateVM_Task) (home string, fault types.BaseMethodFault) {
	if req.Config.Files == nil || req.Config.Files.VmPathName == "" {
		return "", &types.InvalidVmConfig{Property: "configSpec.files.vmPathName"}
	}
	if home, fault = v.home(req.Config.Files.VmPathName, req.Config.Name); fault != nil {
		return "", fault
	}
	if ctx.Map.Get(req.Pool) == nil {
		return "", notFound(req.Pool)
	}
	if req.Host != nil && ctx.Map.Get(*req.Host) == nil {
		return "", notFound(*req.Host)
	}
	for i, c := range req.Config.DeviceChange {
		spec := c.GetVirtualDeviceConfigSpec()
		if spec.Device == nil {
			return "", &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		}
		if fault := checkNetwork(ctx, spec); fault != nil {
			return "", fault
		}
		if fault := v.checkNewDisk(spec, true); fault != nil {
			return "", fault
		}
	}
	return home, nil
}

// home gives the directory of a VM whose configuration is at vmPathName, which
// names only a datastore or directory if the VM is to be made.
func (v *VCenter) home(vmPathName, name string) (string, types.BaseMethodFault) {
	at, fault := v.resolve(vmPathName)
	switch {
	case fault != nil:
		return "", fault
	case path.Ext(vmPathName) == ".vmx":
		return filepath.Dir(at), nil
	case strings.HasSuffix(vmPathName, "]"):
		if name == "" || !filepath.IsLocal(name) {
			return "", &types.InvalidName{Name: name}
		}
		return filepath.Join(at, name), nil
	}
	return at, nil
}
