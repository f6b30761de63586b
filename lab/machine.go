package lab

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"imageport/appliance/seedsource/media"
	"imageport/lab/vcenter"
	"imageport/platforms/cedir"
)

// efi is what vSphere calls the firmware that is not a BIOS
// (GuestOsDescriptorFirmwareType).
const efi = "efi"

// varsFile is a machine's own NVRAM, in its directory.
const varsFile = "vars.fd"

// bus is the SCSI controller of the VM's disks. OVMF has no driver for it:
// bootBus is that of the first disk, which the machine starts from.
const bus, bootBus = "scsi", "boot"

// arguments are QEMU's for the VM. The machine speaks on its serial port to the
// file console.
func (cfg MachinesConfig) arguments(vm vcenter.VM, console string) ([]string, error) {
	args := []string{
		"-name", escape(vm.Name), "-uuid", vm.UUID,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// One processor: two emulated ones do not see each other's changes to the
		// kernel's code as real ones do, and one start in some hundred ends in a
		// panic.
		"-machine", "q35,graphics=off", "-accel", "tcg", "-cpu", "max", "-smp", "1",
		"-m", strconv.FormatInt(vm.MemoryMB, 10),
		"-chardev", "stdio,id=qmp,signal=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "file,id=console,append=on,path=" + escape(console), "-serial", "chardev:console",
		"-fw_cfg", "name=" + media.FwCfg + ",file=" + cedir.SeedFile,
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-device", "virtio-rng-pci",
		"-netdev", "user,id=net", "-device", "vmxnet3,netdev=net,romfile=",
		"-device", "virtio-scsi-pci,id=" + bootBus, "-device", "pvscsi,id=" + bus,
	}
	raw := func(name, file string, readOnly bool) map[string]any {
		return map[string]any{"node-name": name, "driver": "raw", "read-only": readOnly, "file": map[string]any{"driver": "file", "filename": file}}
	}
	var nodes, devices []map[string]any
	if vm.Firmware == efi {
		args = append(args, "-machine", "pflash0=code,pflash1=vars")
		nodes = append(nodes, raw("code", cfg.FirmwareCode, true), raw("vars", varsFile, false))
	}
	for i, d := range vm.Disks {
		nodes = append(nodes, blockNode(d))
		x := device(d, bus)
		if i == 0 {
			x = device(d, bootBus)
			x["bootindex"] = 1
		}
		devices = append(devices, x)
	}
	for _, of := range []struct {
		option string
		list   []map[string]any
	}{{"-blockdev", nodes}, {"-device", devices}} {
		for _, x := range of.list {
			b, err := json.Marshal(x)
			if err != nil {
				return nil, fmt.Errorf("lab: VM %q: %w", vm.Name, err)
			}
			args = append(args, of.option, string(b))
		}
	}
	return args, nil
}

// blockNode is a disk as -blockdev and blockdev-add take it.
func blockNode(d vcenter.Disk) map[string]any {
	return map[string]any{
		"node-name": nodeName(d), "driver": "raw", "discard": "unmap",
		"file": map[string]any{"driver": "file", "filename": d.Flat, "discard": "unmap"},
	}
}

// device is a disk on a controller, as -device and device_add take it. The guest is to hear of
// errors, not to be stopped by them.
func device(d vcenter.Disk, on string) map[string]any {
	return map[string]any{
		"driver": "scsi-hd", "bus": on + ".0", "id": deviceID(d), "drive": nodeName(d), "serial": d.Serial,
		"werror": "report", "rerror": "report",
	}
}

// nodeName is QEMU's name for the disk as a file. It has 31 characters at most.
func nodeName(d vcenter.Disk) string { return "disk-" + d.Serial[:24] }

// deviceID is QEMU's name for the disk as a device.
func deviceID(d vcenter.Disk) string { return "scsi-" + d.Serial }

// escape protects a name in a list of options.
func escape(name string) string { return strings.ReplaceAll(name, ",", ",,") }
