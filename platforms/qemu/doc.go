// Package qemu is the platform of one Linux machine with QEMU: a Compositing
// Engine (CE) is a virtual machine of its own, with one directory that is all
// there is of it, booted from the appliance's image, which is never written.
//
// A machine outlives the worker that made it, and any worker that shares the
// state directory finds it again, or removes it (package cedir). The seed goes
// through fw_cfg from a file that only the worker's user reads; no secret is
// in an argument or in the environment. QEMU itself runs in its seccomp
// sandbox. With the network "user" the CE reaches whatever the worker's machine
// reaches, and that machine's loopback services under 10.0.2.2, such as a
// Temporal server that asks nobody who he is; nobody reaches the CE. A bridge
// keeps a CE that was taken over away from those. A worker that is a systemd service needs KillMode=process,
// or its machines end with it.
//
// A guest is a machine with a screen and without a network or a seed: it starts
// from an output disk at the controller that is asked for, and ends with its
// power-off. Linux on x86-64 only.
package qemu
