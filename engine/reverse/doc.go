// Package reverse performs reverseImage: Preflight checks and plans, Copy brings
// the guest-visible bytes of an image on a share to a disk, and verifies them,
// and FixUp changes what keeps its Windows from starting on the platform. It
// knows nothing of Temporal and platforms. The copy is to the bit, unless the
// Approval says that what NTFS has free is to be left out.
//
// The image is only opened for reading, and is the one that was approved before
// and after each step. A Copy that was cut off goes on from the last state that
// was synced, after it has made sure that the disk is the one that it wrote to;
// FixUp may run again after it was cut off anywhere. Copy is not for a disk
// that FixUp has begun with: it would copy all of it again.
package reverse
