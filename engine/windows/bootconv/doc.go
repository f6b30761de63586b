// Package bootconv converts the disk of a Windows that boots by BIOS from MBR
// partitions into one that boots by UEFI from GPT partitions: Inspect reads the
// disk, Plan decides from that alone what is to change, Apply writes the
// changes to an overlay, and Verify reads the result back without trusting any
// of them.
//
// It knows one layout: System Reserved, C: and Recovery. Every other one, and
// every state in which Windows would not survive (hibernated, encrypted, in
// need of chkdsk), is refused with a job.Error. The same disk and seed give
// the same plan and the same bytes. It does no I/O but through the disk given.
package bootconv
