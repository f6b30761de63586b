// Package xenserver is the platform of XenServer: Compositing Engines (CEs) are
// VMs of a pool, output disks are VDIs in its storage repositories.
//
// The pool is the only memory. Names are not unique there, so marks decide: what
// a VM or a VDI is for stands in its other_config from the moment that it is made,
// and a key that only one caller can add decides between several. A verb looks
// first, changes one thing at a time, and polls the tasks that it starts, so that
// it can be cut short anywhere and done again by anybody. A VM's disks are not
// removed with it: they carry marks themselves, and are found by them.
//
// Sessions are shared by the drivers of a Platform, one for each pool, user and
// trust, and renewed when they are lost. The pool's certificate is always
// checked. The permissions that the user needs are one table, which
// docs/xenserver-role.md prints and Check goes through.
//
// A guest is a VM with its CE's disk, which the pool attaches to one VM that runs.
// Which of several VMs is the guest stands in the CE, under a number that never
// comes again. It has no network card, and shows no picture.
//
// The package makes no output VMs, and does not follow a CE: what one says when it
// gives up stays on its console. The VDI of the appliance is left for the next CE;
// whoever removes it loses nothing but time.
package xenserver
