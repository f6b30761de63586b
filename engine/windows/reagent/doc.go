// Package reagent converts ReAgent.xml, the file in \Windows\System32\Recovery
// in which Windows remembers where its recovery environment lies, from a disk
// partitioned by MBR to the same disk partitioned by GPT.
//
// It guarantees that the file keeps its length and every byte but those of the
// locations converted, so that it can be written over the old one in place.
// Windows writes it as UTF-8; UTF-16LE with a byte order mark is taken as well.
//
// It does not look at disks: whether a location is a partition of the disk, and
// whether Windows RE lies there, is the caller's to know.
package reagent
