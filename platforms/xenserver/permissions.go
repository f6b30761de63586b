package xenserver

import (
	"context"
	"slices"
	"strings"

	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

// purpose is what a permission is needed for.
type purpose string

const (
	forCE         purpose = "CE"           // every job
	forOutputDisk purpose = "reverseImage" // an output disk
	forGuest      purpose = "upgradePvs"   // a guest
)

// permissions is the complete list of what the driver needs besides reading: no
// call that it makes needs another. docs/xenserver-role.md prints it. The role is
// the least of XenServer's own that has the permission.
var permissions = []struct {
	use  purpose
	name string // of RBAC, in lower case
	role string
	why  string
}{
	{forCE, "vm.create", "VM Admin", "make the CE"},
	{forCE, "vm.add_to_other_config", "VM Admin", "decide which of several is the CE, record its output disks, mark it as ending"},
	{forCE, "vm.set_xenstore_data", "VM Admin", "give a CE that is started again its seed"},
	{forCE, "vm.start", "VM Operator", "start the CE"},
	{forCE, "vm.hard_shutdown", "VM Operator", "stop the CE"},
	{forCE, "vm.destroy", "VM Admin", "remove the CE"},
	{forCE, "vif.create", "VM Admin", "connect the CE to the network"},
	{forCE, "vbd.create", "VM Admin", "attach disks to the CE"},
	{forCE, "vbd.destroy", "VM Admin", "take disks from the CE"},
	{forCE, "vdi.create", "VM Admin", "make the CE's disks, and the one that it is copied from"},
	{forCE, "http/put_import_raw_vdi", "VM Admin", "import the appliance"},
	{forCE, "vdi.copy", "VM Admin", "copy the appliance to the CE's own disk"},
	{forCE, "vdi.add_to_other_config", "VM Admin", "mark disks as complete"},
	{forCE, "vdi.destroy", "VM Admin", "remove the CE's disks"},
	{forOutputDisk, "vbd.plug", "VM Admin", "attach the output disk to the CE that runs"},
	{forOutputDisk, "vbd.unplug", "VM Admin", "detach the complete output disk"},
	{forOutputDisk, "vdi.set_name_label", "VM Admin", "name the complete output disk"},
	{forGuest, "vm.create", "VM Admin", "make the guest"},
	{forGuest, "vm.add_to_other_config", "VM Admin", "decide which of several is the guest, mark it as started or as ending"},
	{forGuest, "vm.remove_from_other_config", "VM Admin", "take the mark from a guest that did not start"},
	{forGuest, "vbd.create", "VM Admin", "attach the working disk to it"},
	{forGuest, "vm.start", "VM Operator", "start the guest"},
	{forGuest, "vm.hard_shutdown", "VM Operator", "end a guest that hangs"},
	{forGuest, "vm.destroy", "VM Admin", "remove the guest"},
}

// httpPermission begins the names of the permissions that are not for methods.
const httpPermission = "http/"

// checkPermissions refuses a user who lacks what these purposes need. What is
// missing is named all at once.
func (d *Driver) checkPermissions(ctx context.Context, purposes ...purpose) error {
	var superuser bool
	if err := d.client.Call(ctx, "session.get_is_local_superuser", &superuser, xapi.OwnSession); err != nil || superuser {
		return err // who may do all has no list
	}
	var has []string
	if err := d.client.Call(ctx, "session.get_rbac_permissions", &has, xapi.OwnSession); err != nil {
		return err
	}
	granted := make(map[string]bool)
	listsHTTP := false
	for _, name := range has {
		name = strings.ToLower(name)
		granted[name] = true
		listsHTTP = listsHTTP || strings.HasPrefix(name, httpPermission)
	}
	var missing []string
	for _, p := range permissions {
		if !slices.Contains(purposes, p.use) || granted[p.name] || strings.HasPrefix(p.name, httpPermission) && !listsHTTP {
			continue
		}
		missing = append(missing, p.name)
	}
	if len(missing) > 0 {
		return platforms.Errorf(platforms.Denied, "the user %s lacks the permissions %s: give it the role VM Admin", d.username, strings.Join(missing, ", "))
	}
	return nil
}
