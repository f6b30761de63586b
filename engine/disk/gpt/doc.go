// Package gpt reads the partition table that a BIOS disk has and writes the
// one that a UEFI disk needs: the master boot record with the chain of its
// extended partition, the protective MBR and the GUID partition table of the
// UEFI specification, chapter 5 (2.10). Extend tells what a GPT needs when its
// disk is copied to a larger one.
//
// It guarantees that a table it returns or writes is consistent: partitions
// inside the disk and apart from each other, checksums right, both copies of a
// GPT equal. It takes disks with sectors of 512 and 4096 bytes.
//
// It does not judge whether a layout can be converted, know dynamic disks, or
// repair a table: what is inconsistent is an error that says where.
//
// Partitions are numbered from 0 in the types and from 1 in error messages, as
// partition tools print them.
package gpt
