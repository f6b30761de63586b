package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/google/uuid"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/outputdir"
)

var _ platforms.Guests = (*Driver)(nil)

// newGuests gives what keeps the guests of the driver's CEs: machines of their
// own, which are set up before they are switched on.
func (d *Driver) newGuests() *cedir.Guests {
	return &cedir.Guests{
		Store: d.store, Check: d.checkGuest, Command: d.guestCommand,
		SetUp: d.setUpGuest, SwitchOn: switchOnGuest, Describe: describeGuest,
	}
}

// WorkingDisk implements platforms.Guests.
func (d *Driver) WorkingDisk(ce string) platforms.OutputDisk { return outputdir.WorkingDisk(ce) }

// CheckGuest implements platforms.Guests.
func (d *Driver) CheckGuest(ctx context.Context, guest platforms.Guest) error {
	if err := d.guests.CheckGuest(ctx, guest); err != nil {
		return err
	}
	err := d.checkProgram(ctx)
	if err == nil {
		err = d.checkFirmwareFor(string(guest.Firmware))
	}
	if err == nil {
		err = checkMemory("a guest", guest.MemoryMB, "")
	}
	return cedir.Fail("check", "guest", err)
}

// StartGuest implements platforms.Guests.
func (d *Driver) StartGuest(ctx context.Context, ce string, guest platforms.Guest) (platforms.GuestState, error) {
	return d.guests.StartGuest(ctx, ce, guest)
}

// FindGuest implements platforms.Guests. The Fault of a guest that is on says
// that QEMU does not run it any more.
func (d *Driver) FindGuest(ctx context.Context, ce string) (platforms.GuestState, error) {
	return d.guests.FindGuest(ctx, ce)
}

// StopGuest implements platforms.Guests.
func (d *Driver) StopGuest(ctx context.Context, ce string) error {
	return d.guests.StopGuest(ctx, ce)
}

// RemoveGuest implements platforms.Guests.
func (d *Driver) RemoveGuest(ctx context.Context, ce string) error {
	return d.guests.RemoveGuest(ctx, ce)
}

// guestDisks are the devices of a guest's disk, by controller: what QEMU's
// firmwares start from, and Windows has drivers for or can be given them. That
// of q35 itself is AHCI. VirtIO is virtio-blk, as nothing says that it is not.
var guestDisks = map[job.Controller]map[string]any{
	job.AHCI:   {"driver": "ide-hd", "bus": "ide.0"},
	job.NVMe:   {"driver": "nvme", "serial": "imageport"},
	job.VirtIO: {"driver": "virtio-blk-pci"},
}

// guestNICs are the network cards that a guest can have.
var guestNICs = map[string]bool{"e1000": true, "e1000e": true, "vmxnet3": true, "virtio-net-pci": true, "rtl8139": true}

// What QEMU calls a guest's disk and its network card.
const guestDiskID, nicID = "disk", "nic"

// controllerOf gives the controller that a guest's disk gets.
func controllerOf(guest platforms.Guest) job.Controller {
	if guest.Controller == "" {
		return job.AHCI
	}
	return guest.Controller
}

func (d *Driver) checkGuest(_ context.Context, guest platforms.Guest) error {
	if err := d.disks.CheckName(guest.Disk); err != nil {
		return err
	}
	switch {
	case guestDisks[controllerOf(guest)] == nil:
		return platforms.Errorf(platforms.BadRequest, "guest of disk %q: controller %s: platform qemu starts disks at %s, %s or %s",
			guest.Disk, guest.Controller, job.AHCI, job.NVMe, job.VirtIO)
	case guest.NIC != "" && !guestNICs[guest.NIC]:
		return platforms.Errorf(platforms.BadRequest, "guest of disk %q: network card %q: want e1000, e1000e, vmxnet3, virtio-net-pci or rtl8139",
			guest.Disk, guest.NIC)
	case guest.MemoryMB > maxMemoryMB || guest.CPUs > maxCPUs:
		return platforms.Errorf(platforms.BadRequest, "guest of disk %q: %d MiB of memory and %d processors: want %d and %d at most",
			guest.Disk, guest.MemoryMB, guest.CPUs, maxMemoryMB, maxCPUs)
	}
	return nil
}

// guestCommand gives the QEMU that is the machine, which waits to be switched on.
func (d *Driver) guestCommand(ctx context.Context, dir, room string, guest platforms.Guest) (*exec.Cmd, error) {
	o, err := d.disks.Find(dir, guest.Disk)
	if err != nil {
		return nil, err
	}
	accel, err := d.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	if guest.Firmware == job.UEFI {
		if err := d.checkFirmwareFor(string(guest.Firmware)); err != nil {
			return nil, err
		}
		vars, err := os.ReadFile(d.cfg.FirmwareVars)
		if err != nil {
			return nil, err
		}
		if err := cedir.ReplaceFile(filepath.Join(room, varsFile), vars); err != nil {
			return nil, err
		}
	}
	args, err := d.cfg.guestArguments(filepath.Base(dir), accelArguments[accel], o, guest)
	if err != nil {
		return nil, err
	}
	d.store.Step("prepared the guest's files")
	cmd := exec.Command(d.cfg.Program, args...) // not CommandContext: the guest outlives the call
	cmd.Dir, cmd.Env = room, environment(room)
	return cmd, nil
}

// guestArguments are QEMU's for the guest of the CE of that name.
func (cfg Config) guestArguments(ce, accel string, o outputdir.Disk, guest platforms.Guest) ([]string, error) {
	name := ce + "-guest"
	args := []string{
		"-name", name, "-uuid", uuid.NewSHA1(uuid.NameSpaceOID, []byte(seed.Key+"/"+name)).String(),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-accel", accel, "-cpu", "max",
		"-m", strconv.Itoa(guest.MemoryMB), "-smp", strconv.Itoa(guest.CPUs),
		// Windows takes its clock for local time. It restarts as often as it likes,
		// and its power-off ends QEMU.
		"-rtc", "base=localtime",
		"-S",
		"-chardev", "socket,id=qmp,path=" + socketFile + ",server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	}
	nodes := []node{{
		NodeName: nodeName(o), Driver: string(o.Format), Discard: "unmap",
		File: file{Driver: "file", Filename: o.Partial, Discard: "unmap"},
	}}
	if guest.Firmware == job.UEFI {
		args = append(args, "-machine", "pflash0=code,pflash1=vars")
		nodes = append(nodes,
			node{NodeName: "code", Driver: "raw", ReadOnly: true, File: file{Driver: "file", Filename: cfg.FirmwareCode}},
			node{NodeName: "vars", Driver: "raw", File: file{Driver: "file", Filename: varsFile}})
	}
	disk := map[string]any{"id": guestDiskID, "drive": nodeName(o), "bootindex": 1}
	for key, value := range guestDisks[controllerOf(guest)] {
		disk[key] = value
	}
	devices := []map[string]any{{"driver": "VGA"}, disk}
	if guest.NIC != "" {
		devices = append(devices, map[string]any{"driver": guest.NIC, "id": nicID, "romfile": ""})
	}
	for _, n := range nodes {
		b, err := json.Marshal(n)
		if err != nil {
			return nil, fmt.Errorf("block node %s: %w", n.NodeName, err)
		}
		args = append(args, "-blockdev", string(b))
	}
	for _, x := range devices {
		b, err := json.Marshal(x)
		if err != nil {
			return nil, fmt.Errorf("device %v: %w", x["driver"], err)
		}
		args = append(args, "-device", string(b))
	}
	return args, nil
}

// setUpGuest waits until QEMU has set up the machine.
func (d *Driver) setUpGuest(ctx context.Context, room string, exited <-chan error) error {
	up, cancel := context.WithTimeoutCause(ctx, d.cfg.StartTimeout,
		platforms.Errorf(platforms.Busy, "QEMU has not set up the machine after %v", d.cfg.StartTimeout))
	defer cancel()
	for {
		if _, err := status(up, room); err == nil {
			return nil
		}
		select {
		case end := <-exited:
			return ended(filepath.Join(room, cedir.GuestErrors), end)
		default:
		}
		if cedir.Sleep(up, upPoll) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return context.Cause(up)
		}
	}
}

// waiting is the status of a machine that was not switched on yet
// (RunState prelaunch of qapi/run-state.json).
const waiting = "prelaunch"

// switchOnGuest switches the machine on, with its network cable pulled out.
func switchOnGuest(ctx context.Context, room string) error {
	m, err := dial(ctx, room)
	if err != nil {
		return err
	}
	defer m.close()
	is, err := m.status(ctx)
	if err != nil || is != waiting {
		return err
	}
	has, err := m.hasDevice(ctx, nicID)
	if err == nil && has {
		err = m.run(ctx, "set_link", map[string]any{"name": nicID, "up": false}, nil)
	}
	if err != nil {
		return err
	}
	return m.run(ctx, "cont", nil, nil)
}

// describeGuest says of a guest that QEMU does not run it any more. One whose
// monitor does not answer now is on all the same.
func describeGuest(ctx context.Context, room string, g *platforms.GuestState) {
	ctx, cancel := context.WithTimeout(ctx, quitPatience)
	defer cancel()
	is, err := status(ctx, room)
	if err == nil && is != "running" && is != waiting {
		g.Fault = "QEMU: the machine does not run: " + is
	}
}

// GuestScreen implements platforms.Guests.
func (d *Driver) GuestScreen(ctx context.Context, ce string) ([]byte, error) {
	g, err := d.guests.FindGuest(ctx, ce)
	if err != nil {
		return nil, err
	}
	if !g.On {
		return nil, platforms.Errorf(platforms.BadRequest, "the guest of %s: %w: it is off", ce, platforms.ErrNoScreen)
	}
	b, err := dumpScreen(ctx, d.guests.Room(ce))
	if err != nil && !errors.Is(err, ctx.Err()) {
		// It may have switched itself off just now.
		if g, err := d.guests.FindGuest(ctx, ce); err == nil && !g.On {
			return nil, platforms.Errorf(platforms.BadRequest, "the guest of %s: %w: it is off", ce, platforms.ErrNoScreen)
		}
	}
	return b, cedir.Fail("look at the screen of the guest of", ce, err)
}
