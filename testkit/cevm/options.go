package cevm

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"imageport/job/seed"
)

// Firmware is what starts the machine.
type Firmware string

// Firmwares.
const (
	Direct Firmware = ""     // none: QEMU starts the kernel, which is seconds faster
	UEFI   Firmware = "uefi" // OVMF, from Disk, or the UKI without one
	BIOS   Firmware = "bios" // SeaBIOS, from Disk
)

// Options describe a machine.
type Options struct {
	Image    Image
	Firmware Firmware
	// Disk to boot from, raw; what is written to it is lost. With CustomDisk it
	// is not attached: Args are to do it, for another controller, as
	// "-device nvme,serial=1,drive=boot".
	Disk       string
	CustomDisk bool

	Machine   string // "q35" if empty
	MemoryMiB int    // 512 if 0
	CPUs      int    // 1 if 0
	Append    string // words for the kernel's command line; Direct only

	Seed    []byte            // in fw_cfg, as seed.Key
	FWCfg   map[string][]byte // more of it, as "opt/name"
	Network Network
	Args    []string // more of QEMU's

	Timeout time.Duration // of the machine's whole life; 3 minutes if 0
}

// Network is what the machine's card is plugged into.
type Network string

// Networks.
const (
	NoCard Network = ""
	// User is QEMU's own: a DHCP server gives 10.0.2.15, and 10.0.2.2 is the
	// host's loopback.
	User Network = "user"
	// Silent has nobody who answers.
	Silent Network = "silent"
)

const ovmf = "/usr/share/OVMF/OVMF_"

// arguments are QEMU's; dir is for the files of this machine.
func (o Options) arguments(dir string) ([]string, error) {
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-qmp", "unix:" + escape(filepath.Join(dir, "qmp")) + ",server=on,wait=off",
		"-machine", cmp.Or(o.Machine, "q35"), "-accel", "tcg", "-cpu", "qemu64,+rdrand",
		"-m", strconv.Itoa(cmp.Or(o.MemoryMiB, 512)), "-smp", strconv.Itoa(cmp.Or(o.CPUs, 1))}
	start, err := o.start(dir)
	if err != nil {
		return nil, err
	}
	args = append(args, start...)
	switch o.Network {
	case NoCard:
		args = append(args, "-nic", "none")
	case User:
		args = append(args, "-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile=")
	case Silent:
		args = append(args, "-netdev", "socket,id=net0,listen=127.0.0.1:0", "-device", "virtio-net-pci,netdev=net0,romfile=")
	default:
		return nil, fmt.Errorf("no network is called %q", o.Network)
	}
	blobs := map[string][]byte{}
	for name, b := range o.FWCfg {
		blobs[name] = b
	}
	if o.Seed != nil {
		blobs["opt/"+seed.Key] = o.Seed
	}
	for _, name := range slices.Sorted(maps.Keys(blobs)) {
		file := filepath.Join(dir, "fw_cfg-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, blobs[name], 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-fw_cfg", "name="+escape(name)+",file="+escape(file))
	}
	return append(args, o.Args...), nil
}

// start is what the machine begins with.
func (o Options) start(dir string) ([]string, error) {
	var args []string
	switch o.Firmware {
	case Direct:
		return []string{"-kernel", o.Image.Kernel, "-initrd", o.Image.Initrd,
			"-append", strings.TrimSpace(o.Image.CommandLine + " " + o.Append)}, nil
	case UEFI:
		empty, err := os.ReadFile(ovmf + "VARS_4M.fd")
		if err != nil {
			return nil, fmt.Errorf("install the package ovmf: %w", err)
		}
		vars := filepath.Join(dir, "vars.fd")
		if err := os.WriteFile(vars, empty, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+ovmf+"CODE_4M.fd",
			"-drive", "if=pflash,format=raw,file="+escape(vars))
		if o.Disk == "" {
			return append(args, "-kernel", o.Image.UKI), nil
		}
	case BIOS:
		if o.Disk == "" {
			return nil, fmt.Errorf("a BIOS needs a disk")
		}
	default:
		return nil, fmt.Errorf("no firmware is called %q", o.Firmware)
	}
	args = append(args, "-drive", "if=none,id=boot,format=raw,snapshot=on,file="+escape(o.Disk))
	if o.CustomDisk {
		return args, nil
	}
	return append(args, "-device", "virtio-scsi-pci,id=bootbus", "-device", "scsi-hd,bus=bootbus.0,drive=boot,bootindex=1"), nil
}

// escape protects a file name inside a list of options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
