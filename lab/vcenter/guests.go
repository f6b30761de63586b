package vcenter

// Guests runs what is in the VMs. Calls for one VM come one after another;
// those for different VMs may come at the same time. A VM keeps the name it was
// switched on under until it is off.
type Guests interface {
	// PowerOn starts the VM. Its error fails the PowerOnVM_Task.
	PowerOn(vm VM) error
	// PowerOff ends it at once, as pulling its plug does. When it returns, the
	// guest writes to none of its disks any more.
	PowerOff(vm string)
	// Attach is the hot add of a disk. Its error fails the reconfiguration.
	Attach(vm string, d Disk) error
	// Detach is the hot remove of a disk. Its error fails the reconfiguration.
	Detach(vm string, d Disk) error
}

// VM is what a guest starts from.
type VM struct {
	Name     string
	UUID     string // of the BIOS, with dashes, lower case
	Firmware string // "bios" or "efi"
	CPUs     int
	MemoryMB int64
	// ExtraConfig are the VM's advanced settings, guestinfo among them.
	ExtraConfig map[string]string
	// Disks are in the order of their controllers and unit numbers.
	Disks []Disk
}

// Disk is a virtual disk as a guest and this machine see it.
type Disk struct {
	// Serial is the disk's UUID without dashes, lower case: what a guest sees
	// as its serial number.
	Serial string
	// Flat is the file with the disk's bytes on this machine, SizeBytes long.
	Flat      string
	SizeBytes int64
	// Datastore is the name of its descriptor: "[LocalDS_0] images/x.vmdk".
	Datastore string

	descriptor string // on this machine
}
