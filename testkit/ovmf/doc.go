// Package ovmf boots a disk image in a virtual machine with UEFI firmware and
// reads from its serial port what the boot oracle (package oracle) says.
//
// The machine is QEMU's q35 without acceleration, network or display, with an
// empty NVRAM, so that the firmware takes the fallback path, as it does on a
// virtual machine that was made for the disk. The image is never written to,
// and the machine ends with the context, with the time-out, or with the calling
// process. The package does not judge: the verdict is the oracle's.
package ovmf
