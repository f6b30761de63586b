// Package lab is a platform on one machine, for demonstrations and tests: the
// simulated vCenter of package vcenter or the simulated pool of package xapi,
// with guests in its VMs that really run and work on the VMs' disks. A guest is
// either the agent of a Compositing Engine (CE) as a process, which is fast, or
// the whole appliance in QEMU. In a VM without a seed for a CE runs a program of
// the configuration with the VM's disk, or QEMU, which starts from that; where
// there is neither, the VM only is said to run.
//
// What a job does in the lab goes through the same calls as on the real platform,
// and the disk that it leaves is a file that others can read. Hypervisor, storage
// and rights are simulated: the lab says nothing of their speed, and isolates
// nothing. No guest outlives the process that runs the lab, even if that is
// killed; the programs that an agent has just called may then. Linux only.
package lab
