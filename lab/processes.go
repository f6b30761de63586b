package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"imageport/lab/guest"
	"imageport/platforms/cedir"
)

// Processes are guests that are the agent alone, as a process of this machine.
// Its directory is as one of platform local: the lock that the agent takes, its
// seed, and a directory with a link to each disk by selector.
type Processes struct {
	*host
	program string
	args    []string
	guest   []string
}

var _ guest.Guests = (*Processes)(nil)

// ProcessesConfig says how to run agents.
type ProcessesConfig struct {
	// Dir is for the files of guests.
	Dir string
	// Program is the agent's, and Args are its arguments before the path of the
	// seed file.
	Program string
	Args    []string
	// Guest is the program, with its arguments, that is the machine of a VM without
	// a seed. The file of the VM's first disk comes after them. Without, such VMs
	// only are said to run.
	Guest []string
	// Ended is told of each guest that has ended by itself.
	Ended func(vm string)
	// Log is told of guests that start and end. It may be nil.
	Log *slog.Logger
}

// agentDisks is the directory beside the seed where an agent finds its disks.
const agentDisks = "disks"

// NewProcesses gives guests that are processes.
func NewProcesses(cfg ProcessesConfig) (*Processes, error) {
	program, err := exec.LookPath(cfg.Program)
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, fmt.Errorf("lab: the agent's program: %w", err)
	}
	command, err := resolve(cfg.Guest)
	if err != nil {
		return nil, err
	}
	h, err := newHost(cfg.Dir, cfg.Ended, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return &Processes{host: h, program: program, args: cfg.Args, guest: command}, nil
}

// PowerOn implements guest.Guests.
func (p *Processes) PowerOn(vm guest.VM) error {
	if len(vm.Seed) == 0 {
		return p.runProgram(vm, p.guest)
	}
	dir, err := p.room(vm.Name, vm.Seed)
	if err != nil {
		return err
	}
	g, err := p.powerOn(vm, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	p.watch(vm.Name, g)
	return nil
}

func (p *Processes) powerOn(vm guest.VM, dir string) (*running, error) {
	if err := os.WriteFile(filepath.Join(dir, cedir.LockFile), nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, agentDisks), 0o700); err != nil {
		return nil, err
	}
	for _, d := range vm.Disks {
		if err := link(vm.Name, dir, d); err != nil {
			return nil, err
		}
	}
	args := append(append([]string{}, p.args...), filepath.Join(dir, cedir.SeedFile))
	return p.start(vm.Name, dir, exec.Command(p.program, args...))
}

// link shows the agent in dir a disk, if it has a way to look for it.
func link(vm, dir string, d guest.Disk) error {
	if err := checkDisk(vm, d); err != nil || d.Selector == "" {
		return err
	}
	return os.Symlink(d.File, filepath.Join(dir, agentDisks, d.Selector))
}

// Attach implements guest.Guests.
func (p *Processes) Attach(vm string, d guest.Disk) error {
	g, ok := p.runs(vm)
	if !ok {
		return nil
	}
	if err := g.changeable(vm, d); err != nil {
		return err
	}
	return link(vm, g.dir, d)
}

// Detach implements guest.Guests.
func (p *Processes) Detach(vm string, d guest.Disk) error {
	g, ok := p.runs(vm)
	if !ok {
		return nil
	}
	if err := g.changeable(vm, d); err != nil || !selectorPattern.MatchString(d.Selector) {
		return err
	}
	if err := os.Remove(filepath.Join(g.dir, agentDisks, d.Selector)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
