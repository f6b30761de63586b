package nativeboot

import "imageport/job"

// driver is what a Windows needs to find its disk at one kind of controller.
type driver struct {
	// controller is "" for the IDE disk that a VM without paravirtual drivers
	// starts from: Windows is made to find it, but it is not offered.
	controller job.Controller
	services   []service
	// devices are beginnings of PCI identifiers, such as VEN_15AD&DEV_07C0: the
	// Windows has to connect one of them with a driver. None: not known.
	devices []string
	// before is the first build of Windows on which the driver is not trusted to
	// be what it was; 0 if it is on all.
	before int
	// some says that only some machines of the platform have this controller, so
	// that a Windows which knows no other one is refused.
	some bool
}

// service is a driver's key below Services.
type service struct {
	name string
	// optional: the disk is found without it.
	optional bool
	// keepStart: it is not started at boot by itself, only no longer kept from it.
	keepStart bool
}

// newest is the first build of Windows 11; that of Windows Server 2025 is higher,
// and no other server is between. What LSI's old drivers are there is not known:
// they may be gone, or not be started at boot.
const newest = 22000

// The drivers. What they are called, and what they are for, is in the .inf files
// that come with them: pvscsi.inf (VMware Tools), lsi_sas.inf, lsi_scsi.inf,
// mshdc.inf (storahci, msahci, intelide, atapi), stornvme.inf, vioscsi.inf and
// viostor.inf (virtio-win), xenbus.inf, xenvbd.inf and xenvif.inf (XenServer VM
// Tools), wvmbus.inf and wstorvsc.inf. The identifiers of vendors and devices are
// those of the PCI ID Repository, virtio's of Virtual I/O Device 1.2, 4.1.2; the
// class codes are PCI's (IDE 01.01, serial ATA 01.06, NVM 01.08). A Windows 10
// has the keys that are named here so; its driver database knows pvscsi and
// LSI_SAS also where there is no service.
var (
	pvscsi = driver{controller: job.PVSCSI, services: need("pvscsi"), devices: []string{"VEN_15AD&DEV_07C0"}}
	lsiSAS = driver{controller: job.LSISAS, services: need("LSI_SAS"), devices: []string{"VEN_1000&DEV_0054"}, before: newest}
	lsi    = driver{controller: job.LSI, services: need("LSI_SCSI"), devices: []string{"VEN_1000&DEV_0030"}, before: newest}

	// msahci is Windows 7's; that it has Start=0 is what Microsoft's KB 922976
	// asks for before a disk moves to an AHCI controller.
	ahci     = driver{controller: job.AHCI, services: need("storahci"), devices: []string{"CC_0106"}}
	ahciOld  = driver{controller: job.AHCI, services: need("msahci"), devices: []string{"CC_0106"}}
	nvme     = driver{controller: job.NVMe, services: need("stornvme"), devices: []string{"CC_0108"}}
	nvmeSome = driver{controller: job.NVMe, services: need("stornvme"), devices: []string{"CC_0108"}, some: true}
	ide      = driver{services: need("intelide", "atapi"), devices: []string{"CC_0101", "VEN_8086&DEV_7010", "VEN_8086&DEV_7111"}}

	vioSCSI = driver{controller: job.VirtIO, services: need("vioscsi"), devices: []string{"VEN_1AF4&DEV_1004", "VEN_1AF4&DEV_1048"}}
	vioBlk  = driver{controller: job.VirtIO, services: need("viostor"), devices: []string{"VEN_1AF4&DEV_1001", "VEN_1AF4&DEV_1042"}}

	// xenvif is the network's, which starts when its device is found. xenfilt,
	// which older drivers do not have, is a filter of the emulated disk's
	// controller: boot-start in its .inf.
	xenbd = driver{controller: job.XenBD, devices: []string{"VEN_5853&DEV_"}, services: append(need("xenbus", "xenvbd"),
		service{name: "xenfilt", optional: true}, service{name: "xenvif", optional: true, keepStart: true})}
	// storflt speeds up emulated disks.
	vmbus = driver{controller: job.VMBus, services: append(need("vmbus", "storvsc"), service{name: "storflt", optional: true, keepStart: true})}
)

func need(names ...string) []service {
	list := make([]service, len(names))
	for i, name := range names {
		list[i].name = name
	}
	return list
}

// drivers are those of a platform's disks, the best one first.
var drivers = map[string][]driver{
	job.PlatformVSphere:   {pvscsi, lsiSAS, ahci, ahciOld, nvme, lsi},
	job.PlatformXenServer: {xenbd, ahci, ahciOld, nvme, ide},
	job.PlatformAzure:     {vmbus},
	job.PlatformGCP:       {vioSCSI, nvmeSome},
	job.PlatformQEMU:      {vioBlk, vioSCSI, ahci, ahciOld, nvme, ide},
	job.PlatformLocal:     {vioBlk, vioSCSI, ahci, ahciOld, nvme, ide},
}
