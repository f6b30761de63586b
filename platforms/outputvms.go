package platforms

import (
	"context"

	"imageport/job"
)

// OutputVMs is what an OutputDisks implements in addition if it can leave a VM
// around a disk that was kept.
type OutputVMs interface {
	// CheckOutputVM reports whether MakeOutputVM can be expected to succeed,
	// without making anything. It fails with Foreign if the name is taken.
	CheckOutputVM(ctx context.Context, vm OutputVM) error

	// MakeOutputVM makes the VM, switched off, with the kept disk as its only
	// one, and gives what the platform calls it. It is idempotent by name and
	// job, and fails with Foreign if the name is taken by something else, with
	// NotFound if the disk is not there. What it has begun and not completed
	// does not keep a later call from it.
	MakeOutputVM(ctx context.Context, vm OutputVM) (ref string, err error)
}

// OutputVM says which VM to leave.
type OutputVM struct {
	Name string
	// Job and Owner are marks, as those of a Spec.
	Job, Owner string
	// Disk is the OutputDisk.Name of the kept disk.
	Disk string
	// Firmware and Controller are what the disk's content starts from.
	Firmware   job.Firmware
	Controller job.Controller
	// WindowsBuild is the build number of the Windows on the disk, 0 if there is
	// none or it is not known.
	WindowsBuild int
	// Server says that it is one of the server editions.
	Server bool
}
