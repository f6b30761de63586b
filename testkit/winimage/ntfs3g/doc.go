// Package ntfs3g makes NTFS volumes in plain files and fills them, for test
// data: with mkntfs, and with ntfs-3g, which mounts a plain file through FUSE
// and so needs no loop device.
//
// A volume is complete on the disk when Unmount has returned. The package needs
// root or a user who may mount, and leaves no mount behind when the process dies.
package ntfs3g
