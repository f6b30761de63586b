// Package bootconv converts the disk of a Windows that boots by BIOS from MBR
// partitions into one that boots by UEFI from GPT partitions: Inspect reads the
// disk, Plan decides from that alone what is to change, and Apply writes the
// changes to an overlay. Describe tells about any disk.
//
// It guarantees that the same disk, options and seed give the same plan and the
// same bytes, and that nothing is written outside the ranges that the plan names.
// Every disk that Windows would not survive is refused with a job.Error. It does
// no I/O but through the disk given, shrinks volumes only through the Shrinker
// given, and does not read back what it wrote: that is package bootcheck's.
package bootconv
