package bootproof

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imageport/job"
)

const qemu = "qemu-system-x86_64"

// firmware is OVMF without Secure Boot, whose keys an image of one's own
// making need not have, and its NVRAM without boot entries.
type firmware struct{ code, vars string }

// firmwares are where distributions put it: Debian and Ubuntu, Fedora, Arch,
// SUSE.
var firmwares = []firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
}

// tools is what a boot needs of the machine that it happens on.
type tools struct {
	qemu     string // path
	firmware firmware
}

const (
	installRemedy = "Install QEMU and OVMF on the worker's machine (Debian, Ubuntu: apt install qemu-system-x86 ovmf; " +
		"Fedora: dnf install qemu-system-x86-core edk2-ovmf), or ask for no boot proof"
	mountRemedy = "Run the worker as root or with CAP_SYS_ADMIN, with the kernel module fuse loaded " +
		"(in a container: --device /dev/fuse --cap-add SYS_ADMIN), or ask for no boot proof"
)

// Available gives nil if Prove can work on this machine, or else a job.Error
// with the code TOOL_MISSING that says what is missing and how to install it.
func Available() error {
	_, err := find()
	return err
}

func find() (tools, error) { return findAmong(firmwares) }

func findAmong(firmwares []firmware) (tools, error) {
	path, err := exec.LookPath(qemu)
	if err == nil {
		path, err = filepath.Abs(path) // of a relative entry of PATH
	}
	if err != nil {
		return tools{}, job.Errorf(job.ToolMissing, installRemedy, "boot proof: QEMU: %w", err)
	}
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return tools{}, job.Errorf(job.ToolMissing, mountRemedy, "boot proof: FUSE: %w", err)
	}
	fuse.Close()
	if !mayMount() {
		return tools{}, job.Errorf(job.ToolMissing, mountRemedy, "boot proof: FUSE: this process may not mount, because it lacks CAP_SYS_ADMIN")
	}
	for _, f := range firmwares {
		if readable(f.code) && readable(f.vars) {
			return tools{qemu: path, firmware: f}, nil
		}
	}
	return tools{}, job.Errorf(job.ToolMissing, installRemedy, "boot proof: the firmware OVMF is at none of the usual places, such as %s", firmwares[0].code)
}

// mayMount reports whether this thread has the right to mount.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of the capabilities from 0 and from 32
	return unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// accelerator is how QEMU runs the machine's code.
type accelerator string

const (
	kvm accelerator = "kvm" // on the processor, at full speed
	tcg accelerator = "tcg" // translated: everywhere, and ten times slower
)

// errAccelerator: the machine has not even come to its first instructions. KVM
// inside another virtual machine opens, and then may fail in several ways.
var errAccelerator = errors.New("boot proof: the accelerator does not work")

func kvmOpens() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
