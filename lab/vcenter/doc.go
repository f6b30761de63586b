// Package vcenter is a vCenter without ESXi, for the lab, demonstrations and
// tests: govmomi's simulator over TLS, with disks that are files and guests that
// run.
//
// It guarantees that a disk is a descriptor that qemu-img reads, beside a sparse
// file of its capacity; that clones and imports have the content of what they
// are made from; that disks of running VMs are locked and names of VMs unique in
// their folder; that VMs are switched on, changed and off in step with their
// Guests, whose errors are faults of tasks; and that only its one user gets in.
// Faults can be injected, privileges revoked, tasks delayed and sessions ended.
//
// Simulated are: everything of hosts, networks, resources and free space; thick
// disks (their blocks are not allocated); leases (ready at once, without time
// limit) and cancelling (a cancelled task is done all the same). Not there are
// snapshots, linked clones, suspending, VMware Tools, vSAN, relocation of disks,
// and permissions by object. Reconfiguring with several devices is not atomic.
// What passes here has not been seen with a real vCenter.
package vcenter
