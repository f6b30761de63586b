// Package bootproof boots a disk in QEMU under OVMF, with the boot manager that
// is on it, and reports how far that got: [Prove] follows firmware's serial
// console, the screen and what is read from the disk.
//
// It guarantees that nothing is ever written to the disk, that every stage it
// names was seen, with what it was seen by, and that no process, mount or file
// is left: a killed process leaves at most what fusefile.CleanStale removes.
// It does not prove that Windows starts: firmware and devices are QEMU's, there
// is no network, and a screen is shown, not understood. It needs QEMU, OVMF and
// the right to mount ([Available]). Linux only.
package bootproof
