#!/usr/bin/env bash
# Makes the role "imageport" with all privileges of docs/vsphere-privileges.md, and
# gives it to a user on the objects that requests name. It needs govc
# (https://github.com/vmware/govmomi), with GOVC_URL, GOVC_USERNAME and so on set
# for an administrator. Run again, it does the same.
#
#   docs/vsphere-role.sh 'EXAMPLE\imageport' /DC/vm/imageport /DC/host/C/Resources /DC/datastore/ds1 '/DC/network/VM Network'
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
user=$1
shift

privileges=(
  Datastore.AllocateSpace
  Datastore.Browse
  Datastore.Config
  Datastore.FileManagement
  Folder.Create
  Network.Assign
  Resource.AssignVMToPool
  VApp.Import
  VirtualMachine.Config.AddExistingDisk
  VirtualMachine.Config.AddNewDisk
  VirtualMachine.Config.AddRemoveDevice
  VirtualMachine.Config.AdvancedConfig
  VirtualMachine.Config.CPUCount
  VirtualMachine.Config.EditDevice
  VirtualMachine.Config.Memory
  VirtualMachine.Config.RemoveDisk
  VirtualMachine.Config.Rename
  VirtualMachine.Config.Settings
  VirtualMachine.Interact.CreateScreenshot
  VirtualMachine.Interact.PowerOff
  VirtualMachine.Interact.PowerOn
  VirtualMachine.Inventory.Create
  VirtualMachine.Inventory.CreateFromExisting
  VirtualMachine.Inventory.Delete
  VirtualMachine.Provisioning.DeployTemplate
  VirtualMachine.Provisioning.MarkAsTemplate
)

if govc role.ls imageport >/dev/null 2>&1; then
  govc role.update imageport "${privileges[@]}"
else
  govc role.create imageport "${privileges[@]}"
fi
for object in "$@"; do
  govc permissions.set -principal "$user" -role imageport -propagate=true "$object"
done
