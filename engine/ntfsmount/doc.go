// Package ntfsmount mounts the NTFS volume in a part of a disk for writing, with
// ntfs-3g, which sees the volume as a file of package fusefile: the disk may be
// anything that can be read and written at offsets.
//
// It guarantees that a volume that Windows has not left in order is refused, and
// never put in order by force; that all that was written has arrived at the disk
// when Close returns nil; and that nothing stays mounted: not after Close, not
// after the context has ended, and not after the process was killed, apart from
// empty directories that [CleanStale] removes.
// It does not check that what is on the volume can be trusted: files are reached
// through an [os.Root], which no link leads out of. It needs the right to mount
// (root, or CAP_SYS_ADMIN), /dev/fuse and ntfs-3g, and no fusermount or /etc/mtab.
package ntfsmount
