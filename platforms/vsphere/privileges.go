package vsphere

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

// place is what a privilege is needed on.
type place string

const (
	onFolder          place = "folder of the VMs"          // the request's folder, or the datacenter's folder of VMs
	onPool            place = "resource pool"              // the request's, or that of the cluster or host
	onDatastore       place = "datastore of the CE"        // datastore of the request
	onOutputDatastore place = "datastore of the output"    // the one in outputDiskName
	onVSAN            place = "vSAN datastore of outputs"  // the same, where it is vSAN or vVols
	onNetwork         place = "network"                    // of the request
	onTemplate        place = "template of the appliance"  // where the configuration names one
	onNewFolder       place = "datacenter's folder of VMs" // where the request names no folder
)

// purpose is what a privilege is needed for.
type purpose string

const (
	forCE         purpose = "CE"           // every job
	forImport     purpose = "OVA"          // the appliance is imported from an OVA
	forTemplate   purpose = "template"     // the appliance is a template that the configuration names
	forOutputDisk purpose = "reverseImage" // an output disk
	forOutputVM   purpose = "createVm"     // an output VM
	forGuest      purpose = "upgradePvs"   // a guest
)

// privileges is the complete list of what the driver needs: no call that it
// makes needs another. docs/vsphere-privileges.md prints it.
var privileges = []struct {
	on  place
	use purpose
	id  string
	why string
}{
	{onNewFolder, forCE, "Folder.Create", "make the folder imageport, the first time"},
	{onFolder, forCE, "VirtualMachine.Inventory.CreateFromExisting", "clone the CE from the template"},
	{onFolder, forCE, "VirtualMachine.Provisioning.DeployTemplate", "clone the CE from the template"},
	{onFolder, forCE, "VirtualMachine.Config.AdvancedConfig", "the CE's seed and marks"},
	{onFolder, forCE, "VirtualMachine.Config.CPUCount", "processors of the CE"},
	{onFolder, forCE, "VirtualMachine.Config.Memory", "memory of the CE"},
	{onFolder, forCE, "VirtualMachine.Config.EditDevice", "connect the CE to the network"},
	{onFolder, forCE, "VirtualMachine.Config.AddRemoveDevice", "a network adapter, where the template has none"},
	{onFolder, forCE, "VirtualMachine.Interact.PowerOn", "start the CE"},
	{onFolder, forCE, "VirtualMachine.Interact.PowerOff", "stop the CE"},
	{onFolder, forCE, "VirtualMachine.Inventory.Delete", "remove the CE"},
	{onFolder, forCE, "VirtualMachine.Config.RemoveDisk", "detach foreign disks before the CE is removed"},
	{onPool, forCE, "Resource.AssignVMToPool", "run the CE"},
	{onDatastore, forCE, "Datastore.AllocateSpace", "the CE's own disk"},
	{onNetwork, forCE, "Network.Assign", "connect the CE to the network"},
	{onTemplate, forTemplate, "VirtualMachine.Provisioning.DeployTemplate", "clone the CE from the template"},
	{onPool, forImport, "VApp.Import", "import the OVA"},
	{onFolder, forImport, "VirtualMachine.Inventory.Create", "import the OVA"},
	{onFolder, forImport, "VirtualMachine.Config.AddNewDisk", "import the OVA"},
	{onFolder, forImport, "VirtualMachine.Config.Rename", "name the imported template when it is complete"},
	{onFolder, forImport, "VirtualMachine.Provisioning.MarkAsTemplate", "make what was imported a template"},
	{onFolder, forOutputDisk, "VirtualMachine.Config.AddNewDisk", "make and attach the output disk"},
	{onFolder, forOutputDisk, "VirtualMachine.Config.AddRemoveDevice", "a SCSI controller, where the CE has none that is free"},
	{onFolder, forOutputDisk, "VirtualMachine.Config.RemoveDisk", "detach the complete output disk"},
	{onOutputDatastore, forOutputDisk, "Datastore.AllocateSpace", "the output disk"},
	{onOutputDatastore, forOutputDisk, "Datastore.Browse", "see whether the output's name is taken"},
	{onOutputDatastore, forOutputDisk, "Datastore.FileManagement", "make its directory, name the complete disk, delete one that is not"},
	{onVSAN, forOutputDisk, "Datastore.Config", "make a directory at the top of vSAN or vVols"},
	{onFolder, forOutputVM, "VirtualMachine.Inventory.Create", "make the output VM"},
	{onFolder, forOutputVM, "VirtualMachine.Config.AddExistingDisk", "attach the output disk to it"},
	{onFolder, forOutputVM, "VirtualMachine.Config.AddRemoveDevice", "its controller and network adapter"},
	{onFolder, forOutputVM, "VirtualMachine.Config.AdvancedConfig", "its marks"},
	{onFolder, forOutputVM, "VirtualMachine.Config.Settings", "its firmware"},
	{onPool, forOutputVM, "Resource.AssignVMToPool", "the pool that it belongs to"},
	{onNetwork, forOutputVM, "Network.Assign", "connect it to the network"},
	{onFolder, forGuest, "VirtualMachine.Inventory.Create", "make the guest"},
	{onFolder, forGuest, "VirtualMachine.Inventory.Delete", "remove the guest"},
	{onFolder, forGuest, "VirtualMachine.Config.AddExistingDisk", "attach the working disk to it"},
	{onFolder, forGuest, "VirtualMachine.Config.AddRemoveDevice", "its controller and network adapter"},
	{onFolder, forGuest, "VirtualMachine.Config.AdvancedConfig", "its marks"},
	{onFolder, forGuest, "VirtualMachine.Config.RemoveDisk", "detach the working disk from it"},
	{onFolder, forGuest, "VirtualMachine.Config.Settings", "its firmware"},
	{onFolder, forGuest, "VirtualMachine.Interact.PowerOn", "start the guest"},
	{onFolder, forGuest, "VirtualMachine.Interact.PowerOff", "end a guest that hangs"},
	{onFolder, forGuest, "VirtualMachine.Interact.CreateScreenshot", "a picture of a guest that hangs"},
	{onPool, forGuest, "Resource.AssignVMToPool", "run the guest"},
	{onDatastore, forGuest, "Datastore.AllocateSpace", "its configuration and swap file"},
	{onDatastore, forGuest, "Datastore.Browse", "fetch the picture"},
	{onDatastore, forGuest, "Datastore.FileManagement", "fetch the picture, and delete it"},
	{onNetwork, forGuest, "Network.Assign", "a network adapter that is not connected"},
}

// checkPrivileges refuses a user who lacks what these purposes need. What is
// missing is named all at once.
func (d *Driver) checkPrivileges(ctx context.Context, s *site, output *entity, purposes ...purpose) error {
	folder := s.folder
	if folder == nil {
		folder = s.vmFolder
	}
	where := map[place]*entity{onFolder: folder, onPool: s.pool, onDatastore: s.datastore, onNetwork: s.network}
	if s.folder == nil {
		where[onNewFolder] = s.vmFolder
	}
	if slices.Contains(purposes, forOutputVM) {
		where[onFolder] = s.outputFolder
	}
	if output != nil {
		where[onOutputDatastore] = output
		if !topDirectories(output) {
			where[onVSAN] = output
		}
	}
	if slices.Contains(purposes, forTemplate) {
		template, err := d.findTemplate(ctx, s)
		if err != nil {
			return err
		}
		where[onTemplate] = &entity{ref: template.ref, name: template.name}
	}
	needed := make(map[*entity][]string)
	var order []*entity
	for _, p := range privileges {
		e := where[p.on]
		if e == nil || !slices.Contains(purposes, p.use) || slices.Contains(needed[e], p.id) {
			continue
		}
		if needed[e] == nil {
			order = append(order, e)
		}
		needed[e] = append(needed[e], p.id)
	}
	var missing []string
	for _, e := range order {
		lacks, err := d.lacks(ctx, e.ref, needed[e])
		if err != nil {
			return fmt.Errorf("privileges on %s: %w", e.name, err)
		}
		if len(lacks) > 0 {
			missing = append(missing, fmt.Sprintf("on %s %s: %s", strings.ToLower(e.ref.Type), e.name, strings.Join(lacks, ", ")))
		}
	}
	if len(missing) > 0 {
		return platforms.Errorf(platforms.Denied, "the user %s lacks privileges %s", d.username, strings.Join(missing, "; "))
	}
	return nil
}

// lacks gives which of the privileges the session does not have on the entity.
func (d *Driver) lacks(ctx context.Context, on types.ManagedObjectReference, ids []string) ([]string, error) {
	for {
		seen := d.logins.Load()
		res, err := methods.HasPrivilegeOnEntities(ctx, d.client, &types.HasPrivilegeOnEntities{
			This: *d.client.ServiceContent.AuthorizationManager, Entity: []types.ManagedObjectReference{on},
			SessionId: *d.key.Load(), PrivId: ids,
		})
		if d.logins.Load() != seen && ctx.Err() == nil {
			continue // it was asked of a session that is no more
		}
		if err != nil {
			return nil, err
		}
		granted := make(map[string]bool)
		for _, e := range res.Returnval {
			for _, a := range e.PrivAvailability {
				granted[a.PrivId] = a.IsGranted
			}
		}
		return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return granted[id] }), nil
	}
}
