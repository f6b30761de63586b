package xapi

import (
	"slices"
	"strconv"

	"imageport/lab/guest"
	"imageport/platforms"
)

// maxDevices is how many block devices a VM can have.
const maxDevices = 255

// createVBD implements VBD.create. The device is attached by plug, or when the VM
// starts.
func createVBD(c *call) (any, error) {
	p, rec := c.p, c.record(0)
	vm, disk, empty := rec.text("VM"), rec["type"] == "Disk", rec.is("empty")
	if p.get("VM", vm) == nil {
		return nil, fail("HANDLE_INVALID", "VM", vm)
	}
	vdi := p.get("VDI", rec.text("VDI"))
	switch {
	case vdi == nil && !empty:
		return nil, fail("HANDLE_INVALID", "VDI", rec.text("VDI"))
	case rec["type"] == "CD" && rec["mode"] != "RO":
		return nil, fail("VBD_CDS_MUST_BE_READONLY")
	case disk && empty:
		return nil, fail("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
	case rec["type"] == "Floppy":
		return nil, fail("NOT_IMPLEMENTED", "VBD of type 'floppy'")
	case rec["mode"] == "RW" && vdi.is("read_only"):
		return nil, fail("VDI_READONLY", rec.text("VDI"))
	}
	used := p.devices("VBD", "userdevice", vm)
	device := rec.text("userdevice")
	if device == "autodetect" {
		for n := 0; slices.Contains(used, device) || device == "autodetect"; n++ {
			device = strconv.Itoa(n)
		}
	}
	n, err := strconv.Atoi(device)
	switch {
	case err != nil || n < 0 || n >= maxDevices || strconv.Itoa(n) != device:
		return nil, fail("INVALID_DEVICE", device)
	case slices.Contains(used, device):
		return nil, fail("DEVICE_ALREADY_EXISTS", device)
	}
	rec["userdevice"], rec["device"], rec["currently_attached"] = device, "", false
	return p.insert("VBD", rec), nil
}

// destroyVBD implements VBD.destroy.
func destroyVBD(c *call) (any, error) {
	if c.self().is("currently_attached") {
		vm := c.p.get("VM", c.self().text("VM"))
		return nil, fail("OPERATION_NOT_ALLOWED", "VBD '"+c.self().text("uuid")+"' still attached to '"+vm.text("uuid")+"'")
	}
	delete(c.p.objects["VBD"], c.text(0))
	return "", nil
}

// setMode implements VBD.set_mode.
func setMode(c *call) (any, error) {
	vm := c.self().text("VM")
	if err := inState(vm, c.p.get("VM", vm), "Halted"); err != nil {
		return nil, err
	}
	return assign(c)
}

// plugVBD implements VBD.plug.
func plugVBD(c *call) (any, error) {
	// It is the VM's from now on, before the guest has it.
	c.self()["currently_attached"], c.self()["device"] = true, deviceName(deviceNumber(c.self()))
	err := c.hotplug(guest.Guests.Attach)
	vbd := c.self()
	if err == nil || vbd == nil {
		return "", err
	}
	vbd["currently_attached"], vbd["device"] = false, ""
	if _, known := err.(*failure); known {
		return nil, err
	}
	return nil, fail("DEVICE_ATTACH_TIMEOUT", "VBD", c.text(0))
}

// unplugVBD implements VBD.unplug and VBD.unplug_force. The latter does not mind
// what the guest says.
func unplugVBD(c *call) (any, error) {
	err := c.hotplug(guest.Guests.Detach)
	if _, known := err.(*failure); known {
		return nil, err
	}
	if err != nil && c.m.verb == "unplug" {
		return nil, fail("DEVICE_DETACH_REJECTED", "VBD", c.text(0), err.Error())
	}
	c.self()["currently_attached"], c.self()["device"] = false, ""
	return "", nil
}

// hotplug has the guest of a VM that runs do something with a disk.
func (c *call) hotplug(do func(guest.Guests, string, guest.Disk) error) error {
	p := c.p
	vm := c.self().text("VM")
	r, disk := p.runs[vm], p.guestDisk(c.self())
	if r == nil {
		return inState(vm, p.get("VM", vm), "Running")
	}
	err := c.unlocked(func() error {
		r.gate.Lock()
		defer r.gate.Unlock()
		p.mu.Lock()
		gone := p.runs[vm] != r
		p.mu.Unlock()
		switch {
		case gone:
			return fail("VM_BAD_POWER_STATE", vm, "running", "halted")
		case p.cfg.Guests == nil:
			return nil
		}
		return do(p.cfg.Guests, r.name, disk)
	})
	if p.runs[vm] != r || c.self() == nil {
		return fail("VM_BAD_POWER_STATE", vm, "running", "halted")
	}
	return err
}

// guestDisk is a device as a guest sees it.
func (p *Pool) guestDisk(vbd record) guest.Disk {
	vdi := p.get("VDI", vbd.text("VDI"))
	return guest.Disk{
		Selector: platforms.ByXen(deviceNode(deviceNumber(vbd))),
		File:     p.file(vdi), SizeBytes: vdi.number("virtual_size"), Name: vdi.text("name_label"),
	}
}

// deviceNumber is that of a device among its VM's.
func deviceNumber(vbd record) uint64 {
	n, _ := strconv.ParseUint(vbd.text("userdevice"), 10, 16) // createVBD takes no others
	return n
}

// deviceNode is the number by which a guest knows a device
// (xen-vbd-interface(7)): those from the 17th on have more minor numbers.
func deviceNode(n uint64) uint64 {
	if n < 16 {
		return 202<<8 | n<<4
	}
	return 1<<28 | n<<8
}

// deviceName is Linux' name for a device: xvda, xvdz, xvdaa.
func deviceName(n uint64) string {
	name := string(rune('a' + n%26))
	if n >= 26 {
		name = string(rune('a'+n/26-1)) + name
	}
	return "xvd" + name
}
