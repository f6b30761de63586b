// Package azure is the platform of Microsoft Azure: Compositing Engines (CEs) are
// VMs of a resource group, output disks are managed disks.
//
// Azure is the only memory. One PUT makes a CE's VM with its network interface
// and its disk; If-None-Match locks its name, and tags say what it is for on all
// of it. Whatever belongs to a CE goes with its VM, or is found by its tags. A
// verb looks first, changes one thing at a time and waits for that, so that it
// can be cut short anywhere and done again by anybody. So no operation is ever
// resumed by a token: who comes later sees by the resource how it went, and a
// deletion does not ask how the creation did.
//
// An output disk is a disk of the CE's with a temporary name; when it is kept it
// is detached, and Azure copies it under its final name, which fails if that is
// taken. A CE finds it by its LUN, chosen by the disk's unique id from 2 up: 0 and
// 1 are also those of the disks of the operating system and of the size's own
// temporary disk, on another controller. The CE has to ask for that very LUN:
// when Linux scans a controller it begins with LUN 0, and ends if there is none.
//
// Credentials are what the wallet says, never what the environment happens to
// have. The actions that they need are one table, which docs/azure-role.json
// grants and Check goes through.
//
// The package does not make resource groups, networks or galleries, give public
// addresses, or read what a CE says on its console. Images that it uploaded stay
// for the next CE.
package azure
