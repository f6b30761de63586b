package qemu

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"imageport/job/seed"
	"imageport/platforms/cedir"
)

// The files of a machine beside those of package cedir. QEMU works in the CE's
// directory and gets their bare names.
const (
	socketFile  = "qmp.sock"         // the monitor
	varsFile    = "vars.fd"          // the machine's own NVRAM, for UEFI
	consoleFile = "console.log"      // what the machine prints on its serial port
	wordsFile   = "qemu.log"         // what QEMU itself prints
	earlierFile = consoleFile + ".1" // the console of the machine's life before this one
)

// arguments are QEMU's for the machine of that name: hardware that is the same
// wherever it runs, and nothing that is secret.
func (cfg Config) arguments(name, accel string) ([]string, error) {
	// The same identity in every life: what the firmware and the kernel show of
	// it leads back to the CE.
	cpus := cfg.CPUs
	if accel == accelArguments[tcg] {
		// Two emulated processors do not see each other's changes to the kernel's
		// code as real ones do: one start in some hundred ends in a panic (int3
		// in the middle of text_poke_bp, QEMU 7.2).
		cpus = 1
	}
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(seed.Key+"/"+name))
	args := []string{
		"-name", name,
		"-uuid", id.String(),
		"-smbios", "type=1,serial=" + name,
		"-nodefaults", "-no-user-config", "-display", "none",
		// Without graphics, SeaBIOS too speaks on the serial port.
		"-machine", "q35,graphics=off", "-accel", accel, "-cpu", "max",
		"-m", strconv.Itoa(cfg.MemoryMB), "-smp", strconv.Itoa(cpus),
		"-rtc", "base=utc", "-no-reboot",
		"-chardev", "file,id=console,path=" + consoleFile + ",append=on", "-serial", "chardev:console",
		"-chardev", "socket,id=qmp,path=" + socketFile + ",server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-fw_cfg", "name=opt/" + seed.Key + ",file=" + cedir.SeedFile,
		"-device", "virtio-rng-pci",
		"-device", "virtio-scsi-pci,id=scsi",
	}
	if cfg.Firmware == uefi {
		args = append(args, "-machine", "pflash0=code,pflash1=vars")
	}
	nodes := []node{{NodeName: "boot", Driver: "raw", ReadOnly: true, File: file{Driver: "file", Filename: cfg.Image}}}
	if cfg.Firmware == uefi {
		nodes = append(nodes,
			node{NodeName: "code", Driver: "raw", ReadOnly: true, File: file{Driver: "file", Filename: cfg.FirmwareCode}},
			node{NodeName: "vars", Driver: "raw", File: file{Driver: "file", Filename: varsFile}})
	}
	for _, n := range nodes {
		b, err := json.Marshal(n)
		if err != nil {
			return nil, fmt.Errorf("block node %s: %w", n.NodeName, err)
		}
		args = append(args, "-blockdev", string(b))
	}
	args = append(args, "-device", "scsi-hd,bus=scsi.0,drive=boot,bootindex=1")
	return append(args, cfg.networkArguments(id)...), nil
}

// networkArguments are those of the network card, and of the sandbox: a bridge
// needs a helper with more rights.
func (cfg Config) networkArguments(id uuid.UUID) []string {
	sandbox := "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
	kind, name, _ := strings.Cut(cfg.Network, ":")
	netdev := ""
	switch kind {
	case networkNone:
		return []string{"-sandbox", sandbox}
	case networkUser:
		// Not restrict=on, which would keep the gateway and the share out of reach.
		netdev = "user,id=net"
	case networkBridge:
		netdev, sandbox = "bridge,id=net,br="+name, "on,obsolete=deny,resourcecontrol=deny"
	case networkTap:
		netdev = "tap,id=net,ifname=" + name + ",script=no,downscript=no"
	}
	// QEMU's own choice of an address is the same for all machines, and a bridge
	// may have several. 02 is for addresses that are locally administered.
	mac := net.HardwareAddr(append([]byte{0x02}, id[:5]...))
	// The card boots nothing, and so needs no ROM.
	return []string{"-sandbox", sandbox, "-netdev", netdev, "-device", "virtio-net-pci,netdev=net,romfile=,mac=" + mac.String()}
}

// node is a block node, as -blockdev and blockdev-add take it.
type node struct {
	NodeName string `json:"node-name"`
	Driver   string `json:"driver"`
	ReadOnly bool   `json:"read-only,omitempty"`
	Discard  string `json:"discard,omitempty"`
	File     file   `json:"file"`
}

type file struct {
	Driver   string `json:"driver"`
	Filename string `json:"filename"`
	Discard  string `json:"discard,omitempty"`
}
