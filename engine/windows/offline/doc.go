// Package offline opens the Windows on a disk that is not running: the
// partitions of the disk, what each holds and in which state Windows left it,
// and the registry hives of an installation, completed with what their
// transaction logs hold.
//
// The disk is only read, and every refusal is a job.Error that says on which
// partition, and what to do in Windows about it. Errors of the disk, such as a
// lost connection, stay what they are, and so does a file that is not there.
//
// It does not decide whether a Windows is good for anything: that is for those
// who open it. It knows one folder of Windows, \Windows, and does not look into
// dynamic disks, encrypted volumes and EFI system partitions.
package offline
