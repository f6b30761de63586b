package lab

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"imageport/lab/guest"
)

// Machines are guests that are the whole appliance, in QEMU, started from the
// VM's own first disk. The machine has what QEMU has of a VM's usual hardware on
// vSphere: a PVSCSI controller and a VMXNET3 card. Two things are not as there:
// the first disk is on a controller that QEMU's firmware has a driver for, and
// the seed comes by QEMU's fw_cfg, because QEMU has no guestinfo. Disks have a
// serial number, or a LUN. A VM with devices of Xen cannot run: QEMU has none.
//
// The network is QEMU's own (user), in which this machine is 10.0.2.2. A VM
// without a seed has no network, and its first disk is at an AHCI controller.
type Machines struct {
	*host
	cfg MachinesConfig
}

var _ guest.Guests = (*Machines)(nil)

// MachinesConfig says how to run machines.
type MachinesConfig struct {
	// Dir is for the files of guests.
	Dir string
	// Program is QEMU's, by default qemu-system-x86_64.
	Program string
	// FirmwareCode and FirmwareVars are the UEFI firmware and the template of
	// its NVRAM, by default Debian's OVMF.
	FirmwareCode, FirmwareVars string
	// Guest is the program, with its arguments, that is the machine of a VM without
	// a seed, as that of ProcessesConfig. Without, such a VM is a QEMU that starts
	// from its first disk.
	Guest []string
	// Ended is told of each guest that has ended by itself.
	Ended func(vm string)
	// Log is told of guests that start and end. It may be nil.
	Log *slog.Logger
}

// WorkerHost is how a machine reaches the host that it runs on.
const WorkerHost = "10.0.2.2"

// NewMachines gives guests that are machines.
func NewMachines(cfg MachinesConfig) (*Machines, error) {
	cfg.Program = cmp.Or(cfg.Program, "qemu-system-x86_64")
	if _, err := exec.LookPath(cfg.Program); err != nil {
		return nil, fmt.Errorf("lab: QEMU: %w", err)
	}
	cfg.FirmwareCode = cmp.Or(cfg.FirmwareCode, "/usr/share/OVMF/OVMF_CODE_4M.fd")
	cfg.FirmwareVars = cmp.Or(cfg.FirmwareVars, "/usr/share/OVMF/OVMF_VARS_4M.fd")
	// QEMU works in the guest's directory.
	for _, path := range []*string{&cfg.FirmwareCode, &cfg.FirmwareVars} {
		abs, err := filepath.Abs(*path)
		if err == nil {
			_, err = os.Stat(abs)
		}
		if err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		*path = abs
	}
	command, err := resolve(cfg.Guest)
	if err != nil {
		return nil, err
	}
	cfg.Guest = command
	h, err := newHost(cfg.Dir, cfg.Ended, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return &Machines{host: h, cfg: cfg}, nil
}

// PowerOn implements guest.Guests.
func (m *Machines) PowerOn(vm guest.VM) error {
	if len(vm.Seed) == 0 && (len(m.cfg.Guest) > 0 || len(vm.Disks) == 0) {
		return m.runProgram(vm, m.cfg.Guest)
	}
	dir, err := m.room(vm.Name, vm.Seed)
	if err != nil {
		return err
	}
	g, err := m.powerOn(vm, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	m.watch(vm.Name, g)
	return nil
}

func (m *Machines) powerOn(vm guest.VM, dir string) (*running, error) {
	if len(vm.Disks) == 0 {
		return nil, fmt.Errorf("lab: VM %q has no disk to start from", vm.Name)
	}
	for _, d := range vm.Disks {
		if err := checkDevice(vm.Name, d); err != nil {
			return nil, err
		}
	}
	if vm.Firmware == guest.UEFI {
		vars, err := os.ReadFile(m.cfg.FirmwareVars)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, varsFile), vars, 0o600); err != nil {
			return nil, err
		}
	}
	args, err := m.cfg.arguments(vm, m.logFile(vm.Name))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(m.cfg.Program, args...)
	cmd.Dir = dir
	control, err := newPipes(cmd)
	if err != nil {
		return nil, err
	}
	g, err := m.start(vm.Name, dir, cmd)
	control.closeTheirs()
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	go func() {
		<-g.process.exited
		_ = control.Close() // nobody reads or writes any more
	}()
	if g.control, err = newMonitor(control); err != nil {
		g.process.kill()
		return nil, fmt.Errorf("lab: VM %q: the machine did not start: %w; see %s", vm.Name, err, m.logFile(vm.Name))
	}
	return g, nil
}

// Attach implements guest.Guests.
func (m *Machines) Attach(vm string, d guest.Disk) error {
	g, ok := m.runs(vm)
	if !ok {
		return nil
	}
	if err := g.changeable(vm, d); err != nil {
		return err
	}
	if err := checkDevice(vm, d); err != nil {
		return err
	}
	if err := g.control.run("blockdev-add", blockNode(d)); err != nil {
		return fmt.Errorf("lab: VM %q: disk %s: %w", vm, d.Name, err)
	}
	if err := g.control.run("device_add", device(d, false)); err != nil {
		return fmt.Errorf("lab: VM %q: disk %s: %w", vm, d.Name, errors.Join(err, g.control.run("blockdev-del", map[string]any{"node-name": nodeName(d)})))
	}
	return nil
}

// Detach implements guest.Guests. What the guest has written is in the file
// then.
func (m *Machines) Detach(vm string, d guest.Disk) error {
	g, ok := m.runs(vm)
	if !ok {
		return nil
	}
	if err := g.changeable(vm, d); err != nil {
		return err
	}
	err := g.control.remove(deviceID(d))
	if err == nil {
		err = g.control.run("blockdev-del", map[string]any{"node-name": nodeName(d)})
	}
	if err != nil {
		return fmt.Errorf("lab: VM %q: disk %s: %w", vm, d.Name, err)
	}
	return nil
}

// pipes are the standard input and output of a process, and our ends of them.
type pipes struct {
	in, out *os.File
	theirs  [2]*os.File
}

// newPipes gives the process both. They are not those of package exec, which
// closes them under the reader.
func newPipes(cmd *exec.Cmd) (*pipes, error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), in.Close())
	}
	cmd.Stdin, cmd.Stdout = stdin, stdout
	return &pipes{in: in, out: out, theirs: [2]*os.File{stdin, stdout}}, nil
}

// closeTheirs is for when the process has been started.
func (p *pipes) closeTheirs() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
}

// Read reads what the process writes.
func (p *pipes) Read(b []byte) (int, error) { return p.out.Read(b) }

// Write writes what the process reads.
func (p *pipes) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close closes our ends.
func (p *pipes) Close() error { return errors.Join(p.in.Close(), p.out.Close()) }
