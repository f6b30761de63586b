package job

// Firmware is what starts a VM.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// DiskUnit is what the sizes of a platform's disks are multiples of, in bytes.
func DiskUnit(platform string) int64 {
	switch CanonicalPlatform(platform) {
	case PlatformAzure, PlatformGCP:
		return 1 << 30
	}
	return 1 << 20
}

// Controller is the kind of storage controller that a VM's disk is attached to.
type Controller string

// The controllers that a Windows may have a driver for.
const (
	PVSCSI Controller = "pvscsi" // VMware's paravirtual SCSI
	LSISAS Controller = "lsisas" // LSI Logic SAS
	LSI    Controller = "lsi"    // LSI Logic parallel SCSI
	AHCI   Controller = "ahci"   // SATA
	NVMe   Controller = "nvme"
	VirtIO Controller = "virtio" // virtio-scsi or virtio-blk
	XenBD  Controller = "xenbd"  // Xen's paravirtual block device
	VMBus  Controller = "vmbus"  // Hyper-V's
)
