// Package vsphere is the platform of VMware vSphere: Compositing Engines (CEs)
// and their guests are VMs of a vCenter, output disks are VMDKs in its datastores.
//
// The vCenter is the only memory. The name of a VM, unique in its folder, is the
// lock; what a VM is for stands in its advanced settings (extraConfig) from the
// moment that it is made, and what an output disk is to become is written by
// the same task that makes it. A verb looks first, changes one thing at a time,
// and polls the tasks that it starts, so that it can be cut short anywhere and
// done again by anybody. A task that was cancelled may still land: it lands
// under a name and with marks by which Create, Destroy and List know it.
//
// A guest is a VM beside its CE, which keeps its disk while it is off. vSphere lets
// one of the two run, because the one that runs locks the file. A VM takes what is
// attached to it along when it is removed, so a guest lets go of the disk first.
// It is marked before it is switched on, on the condition that nobody else has
// changed it since it was read.
//
// Sessions are shared by the drivers of a Platform, one for each vCenter, user
// and trust, kept alive, and renewed when they are lost. The vCenter's
// certificate is always checked. The rights that the user needs are one table,
// which docs/vsphere-privileges.md prints and Check goes through.
//
// The package does not follow a CE: what one says when it gives up stays on its
// console. Templates that it imported are left for the next CE; whoever removes
// them loses nothing but time.
package vsphere
