// Package nativeboot plans what to change on the copy of a PVS vDisk so that its
// Windows starts from a disk of a platform, instead of by streaming: the drivers
// of that platform's storage are loaded at boot (Start, StartOverride), an EFI
// system partition has the boot manager that firmware without an entry of its own
// starts, and the backup of a GPT is at the end of the disk.
//
// The plan is a function of the image and of the target: made again it is the
// same, and may be applied again. The image is only read. Registry hives are
// changed inside of their clusters, completed with what their transaction logs
// hold; a Windows that was not shut down is refused. Every change is reported
// with what was there before.
//
// It installs no drivers, and touches none of other platforms. Of the values of
// XenServer's drivers it resets those by which they remember a device of another
// VM (Count of xenbus, Active* of xenfilt, XEN\Unplug). It leaves alone what
// depends on the version of these drivers: XEN\ForceUnplug, ActiveDevice of
// xenbus and the filters of device classes.
package nativeboot
