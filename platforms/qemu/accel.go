package qemu

import (
	"context"
	"os"
	"os/exec"
	"time"
)

// accelArguments are QEMU's, by accelerator.
var accelArguments = map[string]string{kvm: "kvm", tcg: "tcg"}

// probeTime is how long a machine may take to come to life. It is one that has
// its first word after 0.1 s.
const probeTime = 5 * time.Second

// accelerator gives the accelerator that a machine is to be started with.
func (d *Driver) accelerator(ctx context.Context) (string, error) {
	if d.cfg.Accel != auto {
		return d.cfg.Accel, nil
	}
	d.probing.Lock()
	defer d.probing.Unlock()
	if d.probed != "" {
		return d.probed, nil
	}
	works := opens("/dev/kvm") && comesToLife(ctx, d.cfg.Program, accelArguments[kvm])
	if err := ctx.Err(); err != nil {
		return "", err // and so the probe says nothing
	}
	d.probed = tcg
	if works {
		d.probed = kvm
	}
	return d.probed, nil
}

func opens(device string) bool {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// comesToLife reports whether a machine executes code: its firmware prints
// something on the debug port. That KVM is there, or even that QEMU has set up
// a machine with it, says little: inside another virtual machine, QEMU's
// fallback from KVM to TCG, "-accel kvm -accel tcg", gives a machine that is
// set up, answers to the monitor, and aborts with its first instruction.
func comesToLife(ctx context.Context, program, accel string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-accel", accel, "-cpu", "max", "-machine", "q35", "-m", "32",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=debug,signal=off", "-device", "isa-debugcon,iobase=0x402,chardev=debug")
	cmd.Env = environment("")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false
	}
	if err := cmd.Start(); err != nil {
		return false
	}
	n, _ := out.Read(make([]byte, 1))
	// An error says that it has ended already.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return n > 0
}
