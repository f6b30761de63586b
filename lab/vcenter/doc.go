// Package vcenter is a vCenter without ESXi, for the lab, demonstrations and
// tests: govmomi's simulator over TLS, with disks that are files and guests that
// run.
//
// It guarantees that a disk is a descriptor that qemu-img reads, beside a sparse
// file of its capacity; that clones and imports have the content of what they
// are made from; that disks of running VMs are locked and names of VMs unique in
// their folder; that VMs are switched on, changed and off in step with their
// Guests, whose errors are faults of tasks; that nobody changes a VM who has read
// an older version of it and says so; and that only its one user gets in. A disk
// may be attached to two VMs: the one that runs has it locked, one that is removed
// takes the file along, and one from which it was detached does not. That is what
// vCenters are known to do. Assumed is that a VM can be made with a disk that
// another one has which is off, and that pictures of a screen go with their VM.
// Faults can be injected, privileges revoked, tasks delayed and sessions ended.
//
// Simulated are: everything of hosts, networks, resources and free space; thick
// disks (their blocks are not allocated); leases (ready at once, without time
// limit) and cancelling (a cancelled task is done all the same). Not there are
// snapshots, linked clones, suspending, VMware Tools, vSAN, relocation of disks,
// and permissions by object. Reconfiguring with several devices is not atomic.
// What passes here has not been seen with a real vCenter.
package vcenter
