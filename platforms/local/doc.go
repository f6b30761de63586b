// Package local is the platform without a hypervisor: a Compositing Engine
// (CE) is a child process of the worker, "<program> agent --seed <file>", in a
// session of its own, with one directory that is all there is of it.
//
// Like a virtual machine it outlives the worker that made it. Whichever worker
// shares the state directory finds it again, by process id, start time and
// boot, and no other process is ever signalled. At most one agent lives per
// CE: the agent holds a lock for its life (Claim). The CE is not isolated: it
// runs as the worker's user, on its machine, though without its environment.
// Destroy takes the agent's children along, except those that cleared their
// environment and outlived their agent. Output disks are raw files (package
// outputdir), which the agent finds as disks/<serial number> beside its seed.
// A guest is a process of a program that the configuration names, which is to do
// with the disk's file what a machine would: it is no more isolated than a CE.
// Linux only.
package local
