package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/lab/guest"
)

// guestMain is the machine of a VM that is no CE: it notes on the disk that it was
// on, and ends, unless there is on the disk that it is to stay.
func guestMain(file string) int {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	begins := make([]byte, 4)
	if _, err = f.ReadAt(begins, 0); err == nil {
		_, err = f.WriteAt([]byte("was on"), 1<<20)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up")
	if string(begins) == "stay" {
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			return 1
		}
		fmt.Println("up, with the child", child.Process.Pid)
		time.Sleep(1000 * time.Second)
	}
	return 0
}

// plain is a VM that is no CE.
func plain(disks ...guest.Disk) guest.VM {
	vm := newVM("ce-0123456789ab-guest", disks...)
	vm.Seed, vm.Firmware, vm.CPUs, vm.MemoryMB = nil, guest.BIOS, 1, 64
	return vm
}

// A VM without a seed is the program: its end is the VM's switching off, and it
// ends when the VM is switched off.
func TestProgram(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 2)
	command := []string{os.Args[0], "guest"}
	p, err := NewProcesses(ProcessesConfig{Dir: t.TempDir(), Program: os.Args[0], Guest: command, Ended: func(vm string) { ended <- vm }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	m, err := NewMachines(MachinesConfig{Dir: t.TempDir(), Guest: command, Ended: func(vm string) { ended <- vm }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	for kind, of := range map[string]struct {
		guest.Guests
		*host
	}{"processes": {p, p.host}, "machines": {m, m.host}} {
		off := disk(t, "xen:51712", "")
		vm := plain(off, disk(t, "lun:1", ""))
		if err := of.Guests.PowerOn(vm); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		select {
		case name := <-ended:
			if name != vm.Name || at(t, off, 1<<20, 16) != "was on" {
				t.Errorf("%s: %q has ended, and on its disk is %q", kind, name, at(t, off, 1<<20, 16))
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: it has not ended", kind)
		}
		vm = plain(disk(t, "", "stay"))
		if err := of.Guests.PowerOn(vm); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if err := of.Guests.PowerOn(vm); err == nil {
			t.Errorf("%s: a VM has two guests", kind)
		}
		child := (&Processes{host: of.host}).child(t, vm.Name)
		for what, err := range map[string]error{
			"attached": of.Guests.Attach(vm.Name, disk(t, "lun:2", "")), "detached": of.Guests.Detach(vm.Name, vm.Disks[0]),
		} {
			if err == nil || !strings.Contains(err.Error(), "cannot be changed while it runs") {
				t.Errorf("%s: %s: %v", kind, what, err)
			}
		}
		of.Guests.PowerOff(vm.Name)
		over(t, child)
		if left, err := os.ReadDir(of.dir); err != nil || len(left) != 1 {
			t.Errorf("%s: left: %v, %v", kind, left, err)
		}
		// What has nothing to start from is only said to run.
		if err := of.Guests.PowerOn(plain()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := of.Guests.PowerOn(plain(guest.Disk{File: filepath.Join(of.dir, "none")})); err == nil || !strings.Contains(err.Error(), "has no file") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if len(ended) != 0 {
		t.Error("one that was switched off has ended by itself")
	}
	none := []string{"no-such-program"}
	_, processesErr := NewProcesses(ProcessesConfig{Dir: t.TempDir(), Program: os.Args[0], Guest: none})
	_, machinesErr := NewMachines(MachinesConfig{Dir: t.TempDir(), Guest: none})
	if processesErr == nil || machinesErr == nil {
		t.Errorf("a program that is not there is taken: %v, %v", processesErr, machinesErr)
	}
}

// A machine without a seed starts from its disk, and may switch itself off.
func TestPlainMachine(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	m, err := NewMachines(MachinesConfig{Dir: t.TempDir(), Ended: func(vm string) { ended <- vm }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	sector := make([]byte, 512)
	copy(sector, []byte{
		0xba, 0x04, 0x06, // mov $0x604,%dx  PM1a_CNT of q35
		0xb8, 0x00, 0x20, // mov $0x2000,%ax SLP_EN
		0xef, // out %ax,%dx
		0xf4, // hlt
	})
	copy(sector[510:], []byte{0x55, 0xaa})
	vm := plain(disk(t, "serial:work", string(sector)))
	if err := m.PowerOn(vm); err != nil {
		t.Fatal(err)
	}
	select {
	case name := <-ended:
		if name != vm.Name {
			t.Errorf("%q has ended", name)
		}
	case <-time.After(time.Minute):
		log, _ := os.ReadFile(m.logFile(vm.Name))
		t.Errorf("it has not switched itself off: %s", log)
	}
	args, err := m.cfg.arguments(vm, "console.log")
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"-no-reboot", "-fw_cfg", "-netdev"} {
		if slices.Contains(args, of) {
			t.Errorf("it has %s", of)
		}
	}
}
