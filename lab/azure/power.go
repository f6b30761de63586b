package azure

import (
	"cmp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/lab/guest"
)

// startGuest switches a VM on. The caller holds its gate.
func (c *Cloud) startGuest(m *machine) *Fault {
	c.mu.Lock()
	vm := guest.VM{Name: m.name, UUID: m.vmID, Firmware: guest.UEFI, CPUs: 1, Seed: m.seed()}
	for _, s := range sizes {
		if strings.EqualFold(s.name, m.size) {
			vm.CPUs, vm.MemoryMB = int(s.cores), int64(s.memoryMB)
		}
	}
	// The operating system's disk has LUN -1, and is the first.
	slices.SortFunc(m.disks, func(a, b attachment) int { return cmp.Compare(a.lun, b.lun) })
	for _, a := range m.disks {
		vm.Disks = append(vm.Disks, a.guest())
	}
	c.mu.Unlock()
	if c.cfg.Guests != nil && !m.on {
		if err := c.cfg.Guests.PowerOn(vm); err != nil {
			return refusal(409, "VMStartTimedOut", "%v", err)
		}
	}
	m.on = true
	c.mu.Lock()
	defer c.mu.Unlock()
	m.power = powerRunning
	return nil
}

// endGuest pulls the plug of a VM, if it is on. The caller holds its gate.
func (c *Cloud) endGuest(m *machine) {
	if m.on && c.cfg.Guests != nil {
		c.cfg.Guests.PowerOff(m.name)
	}
	m.on = false
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.power == powerRunning {
		m.power = powerStopped
	}
}

// GuestEnded says that the guest of a VM has switched itself off: the VM is then
// stopped. Guests.PowerOff is not called. A method of Guests must not call it.
func (c *Cloud) GuestEnded(vm string) {
	c.mu.Lock()
	var found []*machine
	for _, m := range c.machines {
		if m.name == vm {
			found = append(found, m)
		}
	}
	c.mu.Unlock()
	for _, m := range found {
		m.gate.Lock()
		m.on = false
		c.mu.Lock()
		if m.power == powerRunning {
			m.power = powerStopped
		}
		c.mu.Unlock()
		m.gate.Unlock()
	}
}

func (c *Cloud) startMachine(group, name string) (*operation, *Fault) {
	const call = "VirtualMachinesClient.BeginStart"
	c.mu.Lock()
	defer c.mu.Unlock()
	m, f := c.find(group, name)
	if f != nil {
		return nil, f
	}
	m.state = stateUpdating
	m.op = c.begin(call, func(op *operation) *Fault {
		return c.run(m, op, call, func() *Fault { return c.startGuest(m) })
	})
	return m.op, nil
}

// stopMachine switches a VM off; deallocated, it holds no cores any more.
func (c *Cloud) stopMachine(call, group, name, power string) (*operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, f := c.find(group, name)
	if f != nil {
		return nil, f
	}
	m.state = stateUpdating
	m.op = c.begin(call, func(op *operation) *Fault {
		return c.run(m, op, call, func() *Fault {
			c.endGuest(m)
			c.mu.Lock()
			defer c.mu.Unlock()
			m.power = power
			return nil
		})
	})
	return m.op, nil
}

// changeDisks attaches and detaches disks.
func (c *Cloud) changeDisks(group, name string, req armcompute.AttachDetachDataDisksRequest) (*operation, *Fault) {
	const call = "VirtualMachinesClient.BeginAttachDetachDataDisks"
	c.mu.Lock()
	defer c.mu.Unlock()
	m, f := c.find(group, name)
	if f != nil {
		return nil, f
	}
	var attach, detach []attachment
	for _, d := range req.DataDisksToAttach {
		a, f := c.attachable(m, d)
		if f != nil {
			return nil, f
		}
		attach = append(attach, a)
	}
	for _, d := range req.DataDisksToDetach {
		i := slices.IndexFunc(m.disks, func(a attachment) bool {
			return d != nil && d.DiskID != nil && strings.EqualFold(a.disk.id(), *d.DiskID)
		})
		if i < 0 || m.disks[i].lun < 0 {
			return nil, refusal(400, "InvalidParameter", "The disk is not a data disk of the virtual machine.")
		}
		detach = append(detach, m.disks[i])
	}
	for _, a := range attach {
		a.disk.attached = m // from now on nobody else can have it
	}
	m.state = stateUpdating
	m.op = c.begin(call, func(op *operation) *Fault {
		f := c.run(m, op, call, func() *Fault { return c.plug(m, attach, detach) })
		if f != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, a := range attach {
				if !slices.Contains(m.disks, a) && a.disk.attached == m {
					a.disk.attached = nil
				}
			}
		}
		return f
	})
	return m.op, nil
}

// attachable gives the attachment that is asked for. The caller holds mu.
func (c *Cloud) attachable(m *machine, d *armcompute.DataDisksToAttach) (attachment, *Fault) {
	if d == nil || d.DiskID == nil || d.Lun == nil || *d.Lun < 0 || *d.Lun > 63 {
		return attachment{}, refusal(400, "InvalidParameter", "The value of parameter 'dataDisk.lun' is out of range. The value must be between '0' and '63', inclusive.")
	}
	var found *disk
	for _, candidate := range c.disks {
		if strings.EqualFold(candidate.id(), *d.DiskID) {
			found = candidate
		}
	}
	switch {
	case found == nil:
		return attachment{}, notFound("Microsoft.Compute/disks", *d.DiskID)
	case found.attached != nil:
		return attachment{}, refusal(409, "ConflictingUserInput", "Disk '%s' cannot be attached as the disk is already owned by VM '%s'.", found.name, found.attached.id())
	case found.state != stateSucceeded || found.signature != "":
		return attachment{}, refusal(409, "ConflictingUserInput", "Disk '%s' is not ready.", found.name)
	case slices.ContainsFunc(m.disks, func(a attachment) bool { return a.lun == *d.Lun }):
		return attachment{}, refusal(409, "AttachDiskWhileBeingDetached", "A disk at LUN %d already exists.", *d.Lun)
	}
	for _, s := range sizes {
		if strings.EqualFold(s.name, m.size) && len(m.disks) > int(s.disks) {
			return attachment{}, refusal(409, "OperationNotAllowed", "The maximum number of data disks allowed to be attached to a VM of this size is %d.", s.disks)
		}
	}
	return attachment{disk: found, lun: *d.Lun, deleteOption: optionOf(d.DeleteOption)}, nil
}

// plug changes what disks a VM has. The caller holds its gate.
func (c *Cloud) plug(m *machine, attach, detach []attachment) *Fault {
	for _, a := range detach {
		if m.on && c.cfg.Guests != nil {
			if err := c.cfg.Guests.Detach(m.name, a.guest()); err != nil {
				return refusal(409, "DetachDiskFailed", "%v", err)
			}
		}
		c.mu.Lock()
		m.disks = slices.DeleteFunc(m.disks, func(b attachment) bool { return b == a })
		a.disk.attached = nil
		c.mu.Unlock()
	}
	for _, a := range attach {
		if m.on && c.cfg.Guests != nil {
			if err := c.cfg.Guests.Attach(m.name, a.guest()); err != nil {
				return refusal(409, "AttachDiskFailed", "%v", err)
			}
		}
		c.mu.Lock()
		m.disks = append(m.disks, a)
		c.mu.Unlock()
	}
	return nil
}
