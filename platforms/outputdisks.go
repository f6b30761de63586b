package platforms

import (
	"context"
	"strconv"

	"imageport/job"
)

// OutputDisks is what a Driver implements in addition if its platform can give
// a CE a disk that outlives it: the output of a job, in the platform's own
// format and place. The verbs mean "make it so", as those of Driver do.
type OutputDisks interface {
	// CheckOutputDisk reports whether AddOutputDisk and KeepOutputDisk can be
	// expected to succeed for the disk, without making anything. It fails with
	// Foreign if its name is taken.
	CheckOutputDisk(ctx context.Context, disk OutputDisk) error

	// AddOutputDisk makes an empty disk, which does not have its name yet, and
	// attaches it to the running CE. It is idempotent by the disk's name. The
	// content stays when a CE has stopped and is started again by Create;
	// AddOutputDisk is called again then. It fails with Foreign if the name is
	// taken by something that is not this CE's.
	AddOutputDisk(ctx context.Context, ce string, disk OutputDisk) (OutputDiskRef, error)

	// KeepOutputDisk detaches the disk and gives it its name, without replacing
	// anything, when all that was written is on stable storage. From then on
	// it is no longer the CE's: Destroy leaves it. A disk that was not kept
	// goes with its CE. It fails with NotFound if the CE has no such disk.
	KeepOutputDisk(ctx context.Context, ce, name string) error
}

// OutputDisk says which disk to make.
type OutputDisk struct {
	// Name says where the disk goes, in the platform's own words: a path, or
	// one such as "[datastore] folder/name.vmdk".
	Name string `json:"name"`
	// Format is that of the file, for a platform that has a choice. Empty is
	// the platform's own.
	Format DiskFormat `json:"format,omitempty"`
	// SizeBytes is the size of the disk that the CE sees, a multiple of
	// job.DiskUnit.
	SizeBytes int64 `json:"sizeBytes"`
	// Firmware is what its content starts from, where the platform keeps that with
	// a disk; "" if it is not known.
	Firmware job.Firmware `json:"firmware,omitempty"`
	// Provision says when its blocks are allocated, on a platform that has a
	// choice. Empty is job.ProvisionThin.
	Provision job.ProvisionType `json:"provision,omitempty"`
}

// DiskFormat is the format of a disk's file.
type DiskFormat string

// The formats of output disks. The files of all of them grow as they are
// written to.
const (
	Raw  DiskFormat = "raw"
	VMDK DiskFormat = "vmdk" // one file, as VMware's desktop products write it (monolithicSparse)
	VHDX DiskFormat = "vhdx"
)

// OutputDiskRef is an output disk that is attached.
type OutputDiskRef struct {
	// Selector says how the CE finds the disk among its own, see BySerial, ByLUN
	// and ByXen.
	Selector string `json:"selector"`
	// Ref is what the platform itself calls the disk now, for people.
	Ref string `json:"ref"`
}

// BySerial selects the disk with that serial number, or with that unique name by
// SCSI's page 0x83 or by NVMe.
func BySerial(serial string) string { return "serial:" + serial }

// ByLUN selects the disk with that SCSI logical unit number, on whatever controller.
func ByLUN(n uint64) string { return "lun:" + strconv.FormatUint(n, 10) }

// ByXen selects the disk with that number of a Xen virtual block device, which is
// 51712 + 16n for the n-th one, xvda (docs/man/xen-vbd-interface of Xen).
func ByXen(n uint64) string { return "xen:" + strconv.FormatUint(n, 10) }
