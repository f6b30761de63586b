// Package guest is what the simulated platforms of the lab say of their VMs to
// what runs in them: a VM as a guest starts from it, its disks as files of this
// machine, and the calls that switch it on and off. It has no behaviour.
package guest

// Guests runs what is in the VMs. Calls for one VM come one after another;
// those for different VMs may come at the same time. A VM keeps the name it was
// switched on under until it is off.
type Guests interface {
	// PowerOn starts the VM. Its error fails the platform's call.
	PowerOn(vm VM) error
	// PowerOff ends it at once, as pulling its plug does. When it returns, the
	// guest writes to none of its disks any more.
	PowerOff(vm string)
	// Attach is the hot add of a disk. Its error fails the platform's call.
	Attach(vm string, d Disk) error
	// Detach is the hot remove of a disk. Its error fails the platform's call.
	Detach(vm string, d Disk) error
}

// VM is what a guest starts from.
type VM struct {
	Name     string
	UUID     string // with dashes, lower case
	Firmware Firmware
	CPUs     int
	MemoryMB int64
	// Seed is what the platform carries for a CE, decoded; nil if there is none.
	Seed []byte
	// Disks are in the order of their controllers and unit numbers; the VM
	// starts from the first one.
	Disks []Disk
}

// Firmware is what starts a VM.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Disk is a virtual disk as a guest and this machine see it.
type Disk struct {
	// Selector is by what the guest finds the disk: a selector of
	// platforms.BySerial, ByLUN or ByXen. It is empty for a disk that nobody looks
	// for, such as one that a VM only starts from.
	Selector string
	// File has the disk's bytes on this machine, SizeBytes long, raw.
	File      string
	SizeBytes int64
	// Name is what the platform calls the disk, for people.
	Name string
}
