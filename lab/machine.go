package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
	"imageport/platforms/cedir"
)

// varsFile is a machine's own NVRAM, in its directory.
const varsFile = "vars.fd"

// bus is the SCSI controller of the VM's disks. OVMF has no driver for it, and it
// has no LUN but 0: bootBus is that of the first disk, which the machine starts
// from, and of those that are known by their LUN.
const bus, bootBus = "scsi", "boot"

// lunTarget is the SCSI target whose LUNs are those that a platform gives. The
// first disk is another one if it is not among them.
const lunTarget = 1

// arguments are QEMU's for the VM. The machine speaks on its serial port to the
// file console.
func (cfg MachinesConfig) arguments(vm guest.VM, console string) ([]string, error) {
	args := []string{
		"-name", escape(vm.Name), "-uuid", vm.UUID,
		"-nodefaults", "-no-user-config", "-display", "none",
		// One processor: two emulated ones do not see each other's changes to the
		// kernel's code as real ones do, and one start in some hundred ends in a
		// panic.
		"-machine", "q35,graphics=off", "-accel", "tcg", "-cpu", "max", "-smp", "1",
		"-m", strconv.FormatInt(vm.MemoryMB, 10),
		"-chardev", "stdio,id=qmp,signal=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "file,id=console,append=on,path=" + escape(console), "-serial", "chardev:console",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-device", "virtio-rng-pci",
		"-device", "virtio-scsi-pci,id=" + bootBus, "-device", "pvscsi,id=" + bus,
	}
	ce := len(vm.Seed) > 0
	if ce {
		args = append(args, "-no-reboot", "-fw_cfg", "name="+media.FwCfg+",file="+cedir.SeedFile,
			"-netdev", "user,id=net", "-device", "vmxnet3,netdev=net,romfile=")
	}
	raw := func(name, file string, readOnly bool) map[string]any {
		return map[string]any{"node-name": name, "driver": "raw", "read-only": readOnly, "file": map[string]any{"driver": "file", "filename": file}}
	}
	var nodes, devices []map[string]any
	if vm.Firmware == guest.UEFI {
		args = append(args, "-machine", "pflash0=code,pflash1=vars")
		nodes = append(nodes, raw("code", cfg.FirmwareCode, true), raw("vars", varsFile, false))
	}
	for i, d := range vm.Disks {
		nodes = append(nodes, blockNode(d))
		x := device(d, i == 0)
		if i == 0 && !ce {
			x = nativeDevice(d)
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
func blockNode(d guest.Disk) map[string]any {
	return map[string]any{
		"node-name": nodeName(d), "driver": "raw", "discard": "unmap",
		"file": map[string]any{"driver": "file", "filename": d.File, "discard": "unmap"},
	}
}

// checkDevice refuses a disk that QEMU could not give to a guest.
func checkDevice(vm string, d guest.Disk) error {
	if err := checkDisk(vm, d); err != nil {
		return err
	}
	if strings.HasPrefix(d.Selector, "xen:") {
		return fmt.Errorf("lab: VM %q: disk %s is %s, and QEMU has no Xen devices: guests of such VMs are processes", vm, d.Name, d.Selector)
	}
	return nil
}

// device is a disk on its controller, as -device and device_add take it. The
// guest is to hear of errors, not to be stopped by them.
func device(d guest.Disk, boots bool) map[string]any {
	x := map[string]any{
		"driver": "scsi-hd", "bus": bus + ".0", "id": deviceID(d), "drive": nodeName(d),
		"werror": "report", "rerror": "report",
	}
	kind, value, _ := strings.Cut(d.Selector, ":")
	switch kind {
	case "serial":
		x["serial"] = value
	case "lun":
		x["bus"], x["scsi-id"], x["lun"] = bootBus+".0", lunTarget, json.Number(value)
	}
	if boots {
		x["bus"], x["bootindex"] = bootBus+".0", 1
	}
	return x
}

// nativeDevice is the disk that a VM starts from which is no CE, as -device takes
// it: what is on it may have no driver but for AHCI.
func nativeDevice(d guest.Disk) map[string]any {
	return map[string]any{"driver": "ide-hd", "bus": "ide.0", "id": deviceID(d), "drive": nodeName(d), "bootindex": 1}
}

// nodeName is QEMU's name for the disk as a file. It has 31 characters at most.
func nodeName(d guest.Disk) string { return "disk-" + nameOf(d) }

// deviceID is QEMU's name for the disk as a device.
func deviceID(d guest.Disk) string { return "scsi-" + nameOf(d) }

// nameOf is a name for the disk in QEMU's own alphabet.
func nameOf(d guest.Disk) string {
	sum := sha256.Sum256([]byte(d.File))
	return hex.EncodeToString(sum[:12])
}

// escape protects a name in a list of options.
func escape(name string) string { return strings.ReplaceAll(name, ",", ",,") }
