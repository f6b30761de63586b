package qemu

import (
	"cmp"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"imageport/platforms"
)

// Config is the configuration of the platform qemu.
type Config struct {
	// StateDir holds one directory per CE. It is made if need be, and must
	// belong to the worker's user and be writable by nobody else.
	StateDir string
	// Image is the appliance as a raw disk. If there is a file of that name
	// with .sha256 after it, as sha256sum writes it, Check compares the two.
	Image string
	// Program is QEMU's, by default qemu-system-x86_64.
	Program string
	// ImageProgram makes and checks output disks, by default qemu-img.
	ImageProgram string
	// Accel is how QEMU runs the machine's code: "kvm", "tcg", or "auto", the
	// default: KVM if a machine comes to life with it, else TCG.
	Accel string
	// Firmware is "uefi", the default, or "bios".
	Firmware string
	// FirmwareCode and FirmwareVars are the UEFI firmware and the template of
	// its NVRAM, by default those of the distribution's OVMF.
	FirmwareCode, FirmwareVars string
	// MemoryMB is the memory of a CE in MiB, by default 1024.
	MemoryMB int
	// CPUs is the number of processors of a CE, by default 2. An emulated
	// machine has one.
	CPUs int
	// Network is how a CE reaches the worker and the share: "user", the
	// default, which needs no rights; "bridge:NAME", a bridge of this machine
	// that qemu-bridge-helper may use; "tap:NAME", a tap device of the worker's
	// user, for one CE at a time; or "none".
	Network string
	// OutputDir is where output disks go. Without, there are none.
	OutputDir string
	// ConsoleKeep is how much is kept of the end of a machine's console, in
	// bytes, by default 1 MiB. It is cut to that when it has become twice as
	// long, as long as a worker looks after the machine.
	ConsoleKeep int64
	// Grace is how long Destroy waits between SIGTERM and SIGKILL, by default 5 s.
	Grace time.Duration
	// StartTimeout is how long QEMU may take to set up a machine, by default 30 s.
	StartTimeout time.Duration
	// Now gives the time of creation, by default time.Now.
	Now func() time.Time
}

const (
	auto, kvm, tcg = "auto", "kvm", "tcg"
	uefi, bios     = "uefi", "bios"

	networkUser, networkNone     = "user", "none"
	networkBridge, networkTap    = "bridge", "tap"
	userNetworkHost              = "10.0.2.2" // as QEMU's user network calls the machine that it runs on
	maxMemoryMB, maxCPUs         = 1 << 20, 64
	minMemoryMB                  = 64
	defaultMemoryMB, defaultCPUs = 1024, 2
	defaultConsoleKeep           = 1 << 20
)

// firmwares are where distributions put OVMF without Secure Boot, and its empty
// NVRAM: Debian and Ubuntu, Fedora, Arch, SUSE.
var firmwares = [][2]string{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
}

// complete gives cfg with its defaults, and refuses what cannot be meant.
func (cfg Config) complete() (Config, error) {
	refuse := func(format string, args ...any) (Config, error) {
		return Config{}, platforms.Errorf(platforms.BadRequest, "qemu platform: "+format, args...)
	}
	cfg.Program = cmp.Or(cfg.Program, "qemu-system-x86_64")
	cfg.ImageProgram = cmp.Or(cfg.ImageProgram, "qemu-img")
	cfg.Accel = cmp.Or(cfg.Accel, auto)
	cfg.Firmware = cmp.Or(cfg.Firmware, uefi)
	cfg.Network = cmp.Or(cfg.Network, networkUser)
	cfg.MemoryMB = cmp.Or(cfg.MemoryMB, defaultMemoryMB)
	cfg.CPUs = cmp.Or(cfg.CPUs, defaultCPUs)
	cfg.ConsoleKeep = cmp.Or(cfg.ConsoleKeep, defaultConsoleKeep)
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, 30*time.Second)
	kind, name, named := strings.Cut(cfg.Network, ":")
	switch {
	case cfg.Image == "":
		return refuse("no image of the appliance")
	case cfg.Accel != auto && cfg.Accel != kvm && cfg.Accel != tcg:
		return refuse("accelerator %q: want auto, kvm or tcg", cfg.Accel)
	case cfg.Firmware != uefi && cfg.Firmware != bios:
		return refuse("firmware %q: want uefi or bios", cfg.Firmware)
	case (cfg.FirmwareCode == "") != (cfg.FirmwareVars == ""):
		return refuse("the firmware's code and its variables belong together, and one of them is not given")
	case cfg.MemoryMB < minMemoryMB || cfg.MemoryMB > maxMemoryMB:
		return refuse("%d MiB of memory: want %d to %d", cfg.MemoryMB, minMemoryMB, maxMemoryMB)
	case cfg.CPUs < 1 || cfg.CPUs > maxCPUs:
		return refuse("%d processors: want 1 to %d", cfg.CPUs, maxCPUs)
	case cfg.ConsoleKeep < 0:
		return refuse("%d bytes of console: want 1 or more", cfg.ConsoleKeep)
	case named && (kind == networkBridge || kind == networkTap):
		// dev_valid_name of Linux, and what QEMU's option parser leaves alone.
		if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/:, \t\n\x00") {
			return refuse("network %q: %q is no name of a network device", cfg.Network, name)
		}
	case cfg.Network != networkUser && cfg.Network != networkNone:
		return refuse("network %q: want user, bridge:NAME, tap:NAME or none", cfg.Network)
	}
	if cfg.FirmwareCode == "" { // also for a CE with a BIOS: its guest may need it
		cfg.FirmwareCode, cfg.FirmwareVars = firmwares[0][0], firmwares[0][1]
		for _, f := range firmwares {
			if readable(f[0]) == nil && readable(f[1]) == nil {
				cfg.FirmwareCode, cfg.FirmwareVars = f[0], f[1]
				break
			}
		}
	}
	// QEMU works in the CE's directory, so that no path may depend on ours.
	for _, path := range []*string{&cfg.Image, &cfg.FirmwareCode, &cfg.FirmwareVars, &cfg.OutputDir} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return refuse("%w", err)
		}
		*path = abs
	}
	// A program that is not there now may be installed later: Check says so.
	for _, program := range []*string{&cfg.Program, &cfg.ImageProgram} {
		if path, err := exec.LookPath(*program); err == nil {
			if *program, err = filepath.Abs(path); err != nil {
				return refuse("%w", err)
			}
		}
	}
	return cfg, nil
}
