// Package ntfsresize makes an NTFS volume smaller with ntfsresize of ntfs-3g,
// which sees the volume as a file of package fusefile.
//
// It guarantees that the volume ends inside its new size, with the backup boot
// sector in the new last sector, an exact $MFTMirr, an emptied journal, and
// $Volume's flags as they were, so that Windows runs no chkdsk; that the same
// volume gives the same bytes; and that ntfsresize has tried on a read-only
// file what it then does.
// It does not grow volumes, touch partition tables, tidy up behind the new end,
// work on volumes that Windows has not left in order, or undo a shrink that
// fails half-way: write to an overlay, and drop that.
package ntfsresize
