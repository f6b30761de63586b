package vcenter

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// diskManager is the VirtualDiskManager of disks that are images, and locked
// while a VM runs with them.
type diskManager struct {
	*simulator.VirtualDiskManager
	v *VCenter
}

func (d *diskManager) task(ctx *simulator.Context, name, method string, do func() types.BaseMethodFault) types.ManagedObjectReference {
	return d.v.task(ctx, d.VirtualDiskManager, name, method, func(*simulator.Context) (types.AnyType, types.BaseMethodFault) {
		d.v.storing.Lock()
		defer d.v.storing.Unlock()
		return nil, do()
	})
}

// image finds one that no VM runs with.
func (d *diskManager) image(dc *types.ManagedObjectReference, name string) (image, types.BaseMethodFault) {
	path, fault := d.v.inDatacenter(dc, name)
	if fault != nil {
		return image{}, fault
	}
	img, err := readImage(path)
	if err != nil {
		return image{}, fileFault(name, err)
	}
	if d.v.lockedBelow(path) {
		return image{}, fileLocked(name)
	}
	return img, nil
}

// target gives the path for a new image. Only with force may there be one.
func (d *diskManager) target(dc *types.ManagedObjectReference, name string, force *bool) (string, types.BaseMethodFault) {
	path, fault := d.v.inDatacenter(dc, name)
	if fault != nil {
		return "", fault
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return "", fileFault(name, err)
	}
	if _, err := os.Lstat(path); err == nil && !isTrue(force) {
		return "", fileFault(name, fs.ErrExist)
	}
	if d.v.lockedBelow(path) {
		return "", fileLocked(name)
	}
	return path, nil
}

// inDatacenter is resolve for calls that have to say in which datacenter.
func (v *VCenter) inDatacenter(dc *types.ManagedObjectReference, name string) (string, types.BaseMethodFault) {
	if dc == nil {
		return "", &types.InvalidArgument{InvalidProperty: "datacenter"}
	}
	if v.model.Map().Get(*dc) == nil {
		return "", notFound(*dc)
	}
	return v.resolve(name)
}

// CreateVirtualDiskTask implements CreateVirtualDisk_Task.
func (d *diskManager) CreateVirtualDiskTask(ctx *simulator.Context, req *types.CreateVirtualDisk_Task) soap.HasFault {
	return &methods.CreateVirtualDisk_TaskBody{Res: &types.CreateVirtualDisk_TaskResponse{
		Returnval: d.task(ctx, "createVirtualDisk", "CreateVirtualDisk_Task", func() types.BaseMethodFault {
			spec, ok := req.Spec.(types.BaseFileBackedVirtualDiskSpec)
			if !ok {
				return &types.InvalidArgument{InvalidProperty: "spec"}
			}
			s := spec.GetFileBackedVirtualDiskSpec()
			path, fault := d.target(req.Datacenter, req.Name, nil)
			if fault != nil {
				return fault
			}
			if s.CapacityKb <= 0 {
				return &types.InvalidArgument{InvalidProperty: "spec.capacityKb"}
			}
			if _, err := makeImage(path, s.CapacityKb<<10, s.DiskType == string(types.VirtualDiskTypeThin)); err != nil {
				return fileFault(req.Name, err)
			}
			return nil
		}),
	}}
}

// DeleteVirtualDiskTask implements DeleteVirtualDisk_Task.
func (d *diskManager) DeleteVirtualDiskTask(ctx *simulator.Context, req *types.DeleteVirtualDisk_Task) soap.HasFault {
	return &methods.DeleteVirtualDisk_TaskBody{Res: &types.DeleteVirtualDisk_TaskResponse{
		Returnval: d.task(ctx, "deleteVirtualDisk", "DeleteVirtualDisk_Task", func() types.BaseMethodFault {
			img, fault := d.image(req.Datacenter, req.Name)
			if fault != nil {
				return fault
			}
			if err := img.remove(); err != nil {
				return fileFault(req.Name, err)
			}
			return nil
		}),
	}}
}

// MoveVirtualDiskTask implements MoveVirtualDisk_Task.
func (d *diskManager) MoveVirtualDiskTask(ctx *simulator.Context, req *types.MoveVirtualDisk_Task) soap.HasFault {
	return &methods.MoveVirtualDisk_TaskBody{Res: &types.MoveVirtualDisk_TaskResponse{
		Returnval: d.task(ctx, "moveVirtualDisk", "MoveVirtualDisk_Task", func() types.BaseMethodFault {
			img, fault := d.image(req.SourceDatacenter, req.SourceName)
			if fault != nil {
				return fault
			}
			path, fault := d.target(orSource(req.DestDatacenter, req.SourceDatacenter), req.DestName, req.Force)
			if fault != nil {
				return fault
			}
			if path == img.path {
				return nil
			}
			if _, err := img.move(path); err != nil {
				return fileFault(req.DestName, err)
			}
			return nil
		}),
	}}
}

// CopyVirtualDiskTask implements CopyVirtualDisk_Task.
func (d *diskManager) CopyVirtualDiskTask(ctx *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	return &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{
		Returnval: d.task(ctx, "copyVirtualDisk", "CopyVirtualDisk_Task", func() types.BaseMethodFault {
			img, fault := d.image(req.SourceDatacenter, req.SourceName)
			if fault != nil {
				return fault
			}
			path, fault := d.target(orSource(req.DestDatacenter, req.SourceDatacenter), req.DestName, req.Force)
			if fault != nil {
				return fault
			}
			if path == img.path {
				return fileFault(req.DestName, fs.ErrExist)
			}
			to, err := makeImage(path, img.sizeBytes, img.thin)
			if err == nil {
				err = img.copyTo(to)
			}
			if err != nil {
				return fileFault(req.DestName, err)
			}
			return nil
		}),
	}}
}

// ExtendVirtualDiskTask implements ExtendVirtualDisk_Task.
func (d *diskManager) ExtendVirtualDiskTask(ctx *simulator.Context, req *types.ExtendVirtualDisk_Task) soap.HasFault {
	return &methods.ExtendVirtualDisk_TaskBody{Res: &types.ExtendVirtualDisk_TaskResponse{
		Returnval: d.task(ctx, "extendVirtualDisk", "ExtendVirtualDisk_Task", func() types.BaseMethodFault {
			img, fault := d.image(req.Datacenter, req.Name)
			if fault != nil {
				return fault
			}
			if req.NewCapacityKb<<10 < img.sizeBytes {
				return &types.InvalidArgument{InvalidProperty: "newCapacityKb"}
			}
			if _, err := img.grow(req.NewCapacityKb << 10); err != nil {
				return fileFault(req.Name, err)
			}
			return nil
		}),
	}}
}

// QueryVirtualDiskUuid implements the method of that name.
func (d *diskManager) QueryVirtualDiskUuid(_ *simulator.Context, req *types.QueryVirtualDiskUuid) soap.HasFault {
	path, fault := d.v.inDatacenter(req.Datacenter, req.Name)
	if fault != nil {
		return &methods.QueryVirtualDiskUuidBody{Fault_: simulator.Fault("", fault)}
	}
	img, err := readImage(path)
	if err != nil {
		return &methods.QueryVirtualDiskUuidBody{Fault_: simulator.Fault("", fileFault(req.Name, err))}
	}
	return &methods.QueryVirtualDiskUuidBody{Res: &types.QueryVirtualDiskUuidResponse{Returnval: img.uuid}}
}

// SetVirtualDiskUuid implements the method of that name.
func (d *diskManager) SetVirtualDiskUuid(_ *simulator.Context, req *types.SetVirtualDiskUuid) soap.HasFault {
	id := parseUUID(req.Uuid)
	if id == "" {
		return &methods.SetVirtualDiskUuidBody{Fault_: simulator.Fault("", &types.InvalidArgument{InvalidProperty: "uuid"})}
	}
	img, fault := d.image(req.Datacenter, req.Name)
	if fault != nil {
		return &methods.SetVirtualDiskUuidBody{Fault_: simulator.Fault("", fault)}
	}
	img.uuid = id
	if err := img.describe(); err != nil {
		return &methods.SetVirtualDiskUuidBody{Fault_: simulator.Fault("", fileFault(req.Name, err))}
	}
	return &methods.SetVirtualDiskUuidBody{Res: &types.SetVirtualDiskUuidResponse{}}
}

func orSource(dest, source *types.ManagedObjectReference) *types.ManagedObjectReference {
	if dest == nil {
		return source
	}
	return dest
}

// fileManager is a FileManager that leaves the disks of running VMs alone.
type fileManager struct {
	*simulator.FileManager
	v *VCenter
}

// MakeDirectory implements the method of that name. One that is there is
// FileAlreadyExists, also with createParentDirectories.
func (f *fileManager) MakeDirectory(ctx *simulator.Context, req *types.MakeDirectory) soap.HasFault {
	path, fault := f.v.inDatacenter(req.Datacenter, req.Name)
	if fault != nil {
		return &methods.MakeDirectoryBody{Fault_: simulator.Fault("", fault)}
	}
	if _, err := os.Lstat(path); err == nil {
		return &methods.MakeDirectoryBody{Fault_: simulator.Fault("", fileFault(req.Name, fs.ErrExist))}
	}
	return f.FileManager.MakeDirectory(ctx, req)
}

// DeleteDatastoreFileTask implements DeleteDatastoreFile_Task.
func (f *fileManager) DeleteDatastoreFileTask(ctx *simulator.Context, req *types.DeleteDatastoreFile_Task) soap.HasFault {
	if fault := f.refuse(req.Datacenter, req.Name); fault != nil {
		return &methods.DeleteDatastoreFile_TaskBody{Fault_: simulator.Fault("", fault)}
	}
	return f.FileManager.DeleteDatastoreFileTask(ctx, req)
}

// MoveDatastoreFileTask implements MoveDatastoreFile_Task.
func (f *fileManager) MoveDatastoreFileTask(ctx *simulator.Context, req *types.MoveDatastoreFile_Task) soap.HasFault {
	fault := f.refuse(req.SourceDatacenter, req.SourceName)
	if fault == nil {
		fault = f.refuse(orSource(req.DestinationDatacenter, req.SourceDatacenter), req.DestinationName)
	}
	if fault != nil {
		return &methods.MoveDatastoreFile_TaskBody{Fault_: simulator.Fault("", fault)}
	}
	return f.FileManager.MoveDatastoreFileTask(ctx, req)
}

func (f *fileManager) refuse(dc *types.ManagedObjectReference, name string) types.BaseMethodFault {
	path, fault := f.v.inDatacenter(dc, name)
	if fault != nil {
		return fault
	}
	if f.v.lockedBelow(path) {
		return fileLocked(name)
	}
	return nil
}
