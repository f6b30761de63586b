package vcenter

import (
	"slices"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// privileges are those of the user: all but the ones taken away.
type privileges struct {
	mu      sync.Mutex
	revoked map[string]bool
}

// Revoke takes privileges away from the user, everywhere: "Folder.Create".
// They are missing in what the AuthorizationManager says of the user, and calls
// that need one of them are NoPermission.
func (v *VCenter) Revoke(privilege ...string) {
	v.privileges.mu.Lock()
	defer v.privileges.mu.Unlock()
	for _, p := range privilege {
		v.privileges.revoked[p] = true
	}
}

// Grant gives the user back what Revoke took.
func (v *VCenter) Grant(privilege ...string) {
	v.privileges.mu.Lock()
	defer v.privileges.mu.Unlock()
	for _, p := range privilege {
		delete(v.privileges.revoked, p)
	}
}

func (p *privileges) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.revoked[id]
}

// methodPrivileges are what a method needs whatever its arguments are, by the
// object's type and the method ("Required Privileges" in the vSphere Web
// Services API Reference).
var methodPrivileges = map[[2]string][]string{
	{"Folder", "CreateFolder"}:                                 {"Folder.Create"},
	{"Folder", "Destroy_Task"}:                                 {"Folder.Delete"},
	{"Folder", "CreateVM_Task"}:                                {"VirtualMachine.Inventory.Create", "Resource.AssignVMToPool"},
	{"Folder", "RegisterVM_Task"}:                              {"VirtualMachine.Inventory.Register", "Resource.AssignVMToPool"},
	{"ResourcePool", "ImportVApp"}:                             {"VApp.Import", "Resource.AssignVMToPool"},
	{"VirtualMachine", "CloneVM_Task"}:                         {"Resource.AssignVMToPool", "Datastore.AllocateSpace"},
	{"VirtualMachine", "Destroy_Task"}:                         {"VirtualMachine.Inventory.Delete"},
	{"VirtualMachine", "UnregisterVM"}:                         {"VirtualMachine.Inventory.Unregister"},
	{"VirtualMachine", "MarkAsTemplate"}:                       {"VirtualMachine.Provisioning.MarkAsTemplate"},
	{"VirtualMachine", "MarkAsVirtualMachine"}:                 {"VirtualMachine.Provisioning.MarkAsVM", "Resource.AssignVMToPool"},
	{"VirtualMachine", "PowerOnVM_Task"}:                       {"VirtualMachine.Interact.PowerOn"},
	{"VirtualMachine", "PowerOffVM_Task"}:                      {"VirtualMachine.Interact.PowerOff"},
	{"VirtualMachine", "ResetVM_Task"}:                         {"VirtualMachine.Interact.Reset"},
	{"VirtualMachine", "CreateScreenshot_Task"}:                {"VirtualMachine.Interact.CreateScreenshot"},
	{"Datacenter", "PowerOnMultiVM_Task"}:                      {"VirtualMachine.Interact.PowerOn"},
	{"FileManager", "MakeDirectory"}:                           {"Datastore.FileManagement"},
	{"FileManager", "DeleteDatastoreFile_Task"}:                {"Datastore.FileManagement"},
	{"FileManager", "MoveDatastoreFile_Task"}:                  {"Datastore.FileManagement"},
	{"FileManager", "CopyDatastoreFile_Task"}:                  {"Datastore.FileManagement"},
	{"VirtualDiskManager", "CreateVirtualDisk_Task"}:           {"Datastore.FileManagement"},
	{"VirtualDiskManager", "DeleteVirtualDisk_Task"}:           {"Datastore.FileManagement"},
	{"VirtualDiskManager", "MoveVirtualDisk_Task"}:             {"Datastore.FileManagement"},
	{"VirtualDiskManager", "CopyVirtualDisk_Task"}:             {"Datastore.FileManagement"},
	{"VirtualDiskManager", "ExtendVirtualDisk_Task"}:           {"Datastore.FileManagement"},
	{"HostDatastoreBrowser", "SearchDatastore_Task"}:           {"Datastore.Browse"},
	{"HostDatastoreBrowser", "SearchDatastoreSubFolders_Task"}: {"Datastore.Browse"},
}

// needs gives the privileges that a call needs.
func needs(ctx *simulator.Context, m *simulator.Method) []string {
	ids := slices.Clone(methodPrivileges[[2]string{m.This.Type, m.Name}])
	switch req := m.Body.(type) {
	case *types.CreateVM_Task:
		ids = append(ids, configPrivileges(&req.Config)...)
	case *types.ReconfigVM_Task:
		ids = append(ids, configPrivileges(&req.Spec)...)
	case *types.CloneVM_Task:
		kind := "VirtualMachine.Provisioning.Clone"
		if vm, ok := ctx.Map.Get(m.This).(*simulator.VirtualMachine); ok {
			ctx.WithLock(vm, func() {
				if vm.Config != nil && vm.Config.Template {
					kind = "VirtualMachine.Provisioning.DeployTemplate"
				}
			})
		}
		ids = append(ids, kind)
		if req.Spec.Config != nil {
			ids = append(ids, configPrivileges(req.Spec.Config)...)
		}
		if req.Spec.PowerOn {
			ids = append(ids, "VirtualMachine.Interact.PowerOn")
		}
	}
	return ids
}

// configPrivileges are those that a configuration needs.
func configPrivileges(spec *types.VirtualMachineConfigSpec) []string {
	var ids []string
	if len(spec.ExtraConfig) > 0 {
		ids = append(ids, "VirtualMachine.Config.AdvancedConfig")
	}
	if spec.NumCPUs != 0 {
		ids = append(ids, "VirtualMachine.Config.CPUCount")
	}
	if spec.MemoryMB != 0 {
		ids = append(ids, "VirtualMachine.Config.Memory")
	}
	if spec.Annotation != "" {
		ids = append(ids, "VirtualMachine.Config.Annotation")
	}
	for _, c := range spec.DeviceChange {
		d := c.GetVirtualDeviceConfigSpec()
		if d.Device == nil {
			continue
		}
		disk, isDisk := d.Device.(*types.VirtualDisk)
		_, isNIC := d.Device.(types.BaseVirtualEthernetCard)
		switch {
		case isDisk && d.Operation == types.VirtualDeviceConfigSpecOperationRemove:
			ids = append(ids, "VirtualMachine.Config.RemoveDisk")
		case isDisk && d.FileOperation != "":
			ids = append(ids, "VirtualMachine.Config.AddNewDisk", "Datastore.AllocateSpace")
		case isDisk && d.Operation == types.VirtualDeviceConfigSpecOperationAdd:
			ids = append(ids, "VirtualMachine.Config.AddExistingDisk")
		case isDisk && disk.CapacityInKB != 0:
			ids = append(ids, "VirtualMachine.Config.DiskExtend")
		case isNIC && d.Operation != types.VirtualDeviceConfigSpecOperationRemove:
			ids = append(ids, "Network.Assign", "VirtualMachine.Config.AddRemoveDevice")
		case !isDisk:
			ids = append(ids, "VirtualMachine.Config.AddRemoveDevice")
		}
	}
	return ids
}

// refuse refuses a call that needs a privilege the user does not have.
func (v *VCenter) refuse(ctx *simulator.Context, m *simulator.Method) types.BaseMethodFault {
	for _, id := range needs(ctx, m) {
		if !v.privileges.has(id) {
			object := m.This
			return &types.NoPermission{Object: &object, PrivilegeId: id}
		}
	}
	return nil
}

// authorization is the AuthorizationManager; the simulator's grants everything.
type authorization struct {
	*simulator.AuthorizationManager
	v *VCenter
}

func (a *authorization) availability(ids []string) []types.PrivilegeAvailability {
	var all []types.PrivilegeAvailability
	for _, id := range ids {
		all = append(all, types.PrivilegeAvailability{PrivId: id, IsGranted: a.v.privileges.has(id)})
	}
	return all
}

func (a *authorization) onEntities(ctx *simulator.Context, entities []types.ManagedObjectReference, ids []string) ([]types.EntityPrivilege, *soap.Fault) {
	var all []types.EntityPrivilege
	for _, e := range entities {
		if ctx.Map.Get(e) == nil {
			return nil, simulator.Fault("", notFound(e))
		}
		all = append(all, types.EntityPrivilege{Entity: e, PrivAvailability: a.availability(ids)})
	}
	return all, nil
}

// HasPrivilegeOnEntities implements the method of that name.
func (a *authorization) HasPrivilegeOnEntities(ctx *simulator.Context, req *types.HasPrivilegeOnEntities) soap.HasFault {
	all, fault := a.onEntities(ctx, req.Entity, req.PrivId)
	if fault != nil {
		return &methods.HasPrivilegeOnEntitiesBody{Fault_: fault}
	}
	return &methods.HasPrivilegeOnEntitiesBody{Res: &types.HasPrivilegeOnEntitiesResponse{Returnval: all}}
}

// HasUserPrivilegeOnEntities implements the method of that name.
func (a *authorization) HasUserPrivilegeOnEntities(ctx *simulator.Context, req *types.HasUserPrivilegeOnEntities) soap.HasFault {
	all, fault := a.onEntities(ctx, req.Entities, req.PrivId)
	if fault != nil {
		return &methods.HasUserPrivilegeOnEntitiesBody{Fault_: fault}
	}
	return &methods.HasUserPrivilegeOnEntitiesBody{Res: &types.HasUserPrivilegeOnEntitiesResponse{Returnval: all}}
}

// HasPrivilegeOnEntity does not implement the method of that name: its answer is
// a list of booleans, of which the simulator's encoding leaves out all that are
// false.
func (a *authorization) HasPrivilegeOnEntity(*types.HasPrivilegeOnEntity) soap.HasFault {
	return &methods.HasPrivilegeOnEntityBody{Fault_: simulator.Fault("the lab has HasPrivilegeOnEntities", &types.NotSupported{})}
}

// FetchUserPrivilegeOnEntities implements the method of that name.
func (a *authorization) FetchUserPrivilegeOnEntities(ctx *simulator.Context, req *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	var granted []string
	if admin := object.AuthorizationRoleList(a.RoleList).ByName("Admin"); admin != nil {
		for _, id := range admin.Privilege {
			if a.v.privileges.has(id) {
				granted = append(granted, id)
			}
		}
	}
	var all []types.UserPrivilegeResult
	for _, e := range req.Entities {
		if ctx.Map.Get(e) == nil {
			return &methods.FetchUserPrivilegeOnEntitiesBody{Fault_: simulator.Fault("", notFound(e))}
		}
		all = append(all, types.UserPrivilegeResult{Entity: e, Privileges: granted})
	}
	return &methods.FetchUserPrivilegeOnEntitiesBody{Res: &types.FetchUserPrivilegeOnEntitiesResponse{Returnval: all}}
}
