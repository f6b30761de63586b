// Package blockdev finds the disks of the machine that this process runs on, by
// what the platform knows them by: a serial number, a SCSI logical unit number,
// a Xen device number. The kernel's own names (sda, nvme0n1) depend on which
// driver was faster, so nothing here takes one.
//
// A selector that fits two disks gives an error, never one of the two. The
// package reads sysfs, where Wait also has the kernel look for a LUN; it opens no
// disk, and makes no device nodes.
package blockdev
