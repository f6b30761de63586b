package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"imageport/lab/guest"
)

// resolve gives a command whose program is found from everywhere. An empty one
// stays that.
func resolve(command []string) ([]string, error) {
	if len(command) == 0 {
		return nil, nil
	}
	program, err := exec.LookPath(command[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, fmt.Errorf("lab: the program of VMs that are no CEs: %w", err)
	}
	return append([]string{program}, command[1:]...), nil
}

// runProgram switches on a VM that is no CE: the command is its machine, with the
// file of its first disk as the last argument, and when it ends, the VM has
// switched itself off. Without command, or without disk, the VM only is said to
// run.
func (h *host) runProgram(vm guest.VM, command []string) error {
	if len(command) == 0 || len(vm.Disks) == 0 {
		return nil
	}
	dir, err := h.room(vm.Name, nil)
	if err != nil {
		return err
	}
	g, err := h.startProgram(vm, dir, command)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	h.watch(vm.Name, g)
	return nil
}

func (h *host) startProgram(vm guest.VM, dir string, command []string) (*running, error) {
	for _, d := range vm.Disks {
		if err := checkDisk(vm.Name, d); err != nil {
			return nil, err
		}
	}
	file, err := filepath.Abs(vm.Disks[0].File)
	if err != nil {
		return nil, err
	}
	args := append(append([]string{}, command[1:]...), file)
	cmd := exec.Command(command[0], args...)
	cmd.Dir = dir
	g, err := h.start(vm.Name, dir, cmd)
	if err != nil {
		return nil, err
	}
	g.sealed = true
	return g, nil
}

// changeable refuses to give a VM a disk, or take one from it, whose machine
// cannot.
func (g *running) changeable(vm string, d guest.Disk) error {
	if g.sealed {
		return fmt.Errorf("lab: VM %q: disk %s: its disks cannot be changed while it runs", vm, d.Name)
	}
	return nil
}
