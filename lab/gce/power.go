package gce

import (
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
	"imageport/platforms"
)

// powerOn starts what is in an instance, which the caller has for its own, without
// the lock.
func (c *Cloud) powerOn(i *instance, zone string) error {
	c.mu.Lock()
	vm := c.vm(i, zone)
	c.mu.Unlock()
	if c.cfg.Guests != nil {
		if err := c.cfg.Guests.PowerOn(vm); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i.guest = vm.Name
	i.Status, i.LastStartTimestamp = proto.String(running), proto.String(c.stamp())
	if limit := i.GetScheduling().GetMaxRunDuration(); limit != nil {
		i.timer = time.AfterFunc(time.Duration(limit.GetSeconds())*time.Second, func() { c.EndRun(zone, i.GetName()) })
	}
	return nil
}

// vm is what the guest starts from. The caller holds the lock.
func (c *Cloud) vm(i *instance, zone string) guest.VM {
	machine := machineTypes[last(i.GetMachineType())]
	vm := guest.VM{
		Name: i.GetName(), UUID: fmt.Sprintf("00000000-0000-0000-%04x-%012x", i.GetId()>>48, i.GetId()&(1<<48-1)),
		Firmware: guest.BIOS, CPUs: machine.cpus, MemoryMB: machine.memoryMB,
	}
	for at, other := range c.instances {
		if at.name == i.GetName() && at.zone != zone && other.guest == vm.Name {
			vm.Name += "." + zone // names are unique in a zone only
		}
	}
	for _, item := range i.GetMetadata().GetItems() {
		if item.GetKey() == media.Attribute {
			vm.Seed = []byte(item.GetValue())
		}
	}
	for _, a := range i.Disks {
		d := c.disks[place{zone, last(a.GetSource())}]
		if d == nil {
			continue
		}
		vm.Disks = append(vm.Disks, d.forGuest(a))
		for _, f := range d.GuestOsFeatures {
			if f.GetType() == "UEFI_COMPATIBLE" && a.GetBoot() {
				vm.Firmware = guest.UEFI
			}
		}
	}
	return vm
}

// forGuest is a disk as the guest sees it that it is attached to.
func (d *disk) forGuest(a *computepb.AttachedDisk) guest.Disk {
	return guest.Disk{Selector: platforms.BySerial(a.GetDeviceName()), File: d.file, SizeBytes: d.sizeBytes(), Name: d.GetName()}
}

// powerOff ends what is in an instance, which the caller has for its own, without
// the lock.
func (c *Cloud) powerOff(i *instance) {
	c.mu.Lock()
	name := i.guest
	i.guest = ""
	i.stopTimer()
	c.mu.Unlock()
	if name != "" && c.cfg.Guests != nil {
		c.cfg.Guests.PowerOff(name)
	}
}

func (c *Cloud) startInstance(r *request, i *instance) (any, error) {
	if i.GetStatus() == running {
		return c.start(r, "start", i.GetId(), i.GetSelfLink(), func() error { return nil }, func(*Fault) {}), nil
	}
	if i.GetStatus() != terminated {
		return nil, notReady(c.path("zones", r.Zone, "instances", r.Name))
	}
	i.busy, i.Status = true, proto.String(provisioning)
	return c.start(r, "start", i.GetId(), i.GetSelfLink(), func() error {
		if err := c.room(r.Zone); err != nil {
			return err
		}
		return c.powerOn(i, r.Zone)
	}, func(failed *Fault) {
		i.busy = false
		if failed != nil {
			i.Status = proto.String(terminated)
		}
	}), nil
}

func (c *Cloud) stopInstance(r *request, i *instance) (any, error) {
	i.busy = true
	before := i.Status
	i.Status = proto.String(stopping)
	return c.start(r, "stop", i.GetId(), i.GetSelfLink(), func() error {
		c.powerOff(i)
		return nil
	}, func(failed *Fault) {
		if i.busy = false; failed != nil {
			i.Status = before
			return
		}
		i.Status, i.LastStopTimestamp = proto.String(terminated), proto.String(c.stamp())
	}), nil
}

func (c *Cloud) deleteInstance(r *request, i *instance) (any, error) {
	return c.remove(r, i), nil
}

// remove begins to delete an instance. The caller holds the lock.
func (c *Cloud) remove(r *request, i *instance) *computepb.Operation {
	i.busy = true
	before := i.Status
	i.Status = proto.String(stopping)
	return c.start(r, "delete", i.GetId(), i.GetSelfLink(), func() error {
		c.powerOff(i)
		return nil
	}, func(failed *Fault) {
		if failed != nil {
			i.busy, i.Status = false, before
			return
		}
		delete(c.instances, place{r.Zone, i.GetName()})
		for _, a := range i.Disks {
			d := c.disks[place{r.Zone, last(a.GetSource())}]
			if d == nil {
				continue
			}
			if a.GetAutoDelete() {
				c.dropDisk(d)
			} else {
				d.Users, d.LastDetachTimestamp = nil, proto.String(c.stamp())
			}
		}
	})
}

// GuestEnded says that the guest of an instance, which was switched on under that
// name, has switched itself off: the instance then is TERMINATED. Guests.PowerOff
// is not called. A method of Guests must not call it: it waits for those.
func (c *Cloud) GuestEnded(vm string) {
	c.eventually(func() bool {
		for _, at := range sorted(c.instances) {
			i := c.instances[at]
			if i.guest != vm {
				continue
			}
			if i.busy {
				return false
			}
			i.guest = ""
			i.stopTimer()
			i.Status, i.LastStopTimestamp = proto.String(terminated), proto.String(c.stamp())
		}
		return true
	})
}

// EndRun lets the time of an instance be over that has a limit to how long it runs.
func (c *Cloud) EndRun(zone, name string) {
	c.eventually(func() bool {
		i := c.instances[place{zone, name}]
		if i == nil || i.GetStatus() != running || i.GetScheduling().GetMaxRunDuration() == nil {
			return true
		}
		if i.busy {
			return false
		}
		r := &request{Call: Call{Method: "compute.instances.delete", Zone: zone, Name: name}}
		if i.GetScheduling().GetInstanceTerminationAction() == "DELETE" {
			c.remove(r, i)
			return true
		}
		i.busy, i.Status = true, proto.String(stopping)
		c.start(r, "stop", i.GetId(), i.GetSelfLink(), func() error {
			c.powerOff(i)
			return nil
		}, func(*Fault) { i.busy, i.Status = false, proto.String(terminated) })
		return true
	})
}

// eventually calls do under the lock until it is done, or the cloud is closed.
func (c *Cloud) eventually(do func() bool) {
	for {
		c.mu.Lock()
		done := do()
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-c.closed:
			return
		}
	}
}

// SetStatus makes an instance or a disk be in that state, as by a hand or an
// accident that is not simulated.
func (c *Cloud) SetStatus(zone, name, status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := place{zone, name}
	if i := c.instances[at]; i != nil {
		i.Status = proto.String(status)
	} else if d := c.disks[at]; d != nil {
		d.Status = proto.String(status)
	}
}

func (c *Cloud) attachDisk(r *request, i *instance) (any, error) {
	a := &computepb.AttachedDisk{}
	if err := r.decode(a); err != nil {
		return nil, err
	}
	at := place{r.Zone, last(a.GetSource())}
	path := c.path("zones", r.Zone, "disks", at.name)
	d := c.disks[at]
	switch {
	case a.GetSource() != path:
		return nil, invalid("Invalid value for field 'resource.source': '%s'", a.GetSource())
	case d == nil || d.hidden:
		return nil, notFound(path)
	case d.GetStatus() != diskReady || d.busy:
		return nil, notReady(path)
	case len(d.Users) > 0:
		return nil, inUse(path, d.Users[0])
	case i.GetStatus() != running && i.GetStatus() != terminated:
		return nil, notReady(c.path("zones", r.Zone, "instances", r.Name))
	case !namePattern.MatchString(a.GetDeviceName()):
		return nil, invalid("Invalid value for field 'resource.deviceName': '%s'", a.GetDeviceName())
	case slices.ContainsFunc(i.Disks, func(o *computepb.AttachedDisk) bool { return o.GetDeviceName() == a.GetDeviceName() }):
		return nil, invalid("The device name '%s' is used already", a.GetDeviceName())
	case a.GetInterface() == "SCSI" && !machineTypes[last(i.GetMachineType())].scsi:
		return nil, invalid("SCSI is not supported for machine type %s", last(i.GetMachineType()))
	}
	i.busy, d.busy = true, true
	vm := i.guest
	return c.start(r, "attachDisk", i.GetId(), i.GetSelfLink(), func() error {
		if vm == "" || c.cfg.Guests == nil {
			return nil
		}
		return c.cfg.Guests.Attach(vm, d.forGuest(a))
	}, func(failed *Fault) {
		if i.busy, d.busy = false, false; failed != nil {
			return
		}
		a.Source, a.Index = proto.String(d.GetSelfLink()), proto.Int32(int32(len(i.Disks)))
		i.Disks = append(i.Disks[:len(i.Disks):len(i.Disks)], a)
		d.Users, d.LastAttachTimestamp = []string{i.GetSelfLink()}, proto.String(c.stamp())
	}), nil
}

func (c *Cloud) detachDisk(r *request, i *instance) (any, error) {
	device := r.raw.URL.Query().Get("deviceName")
	n := slices.IndexFunc(i.Disks, func(a *computepb.AttachedDisk) bool { return a.GetDeviceName() == device })
	if n < 0 {
		return nil, invalid("No attached disk found with device name '%s'", device)
	}
	a, vm := i.Disks[n], i.guest
	d := c.disks[place{r.Zone, last(a.GetSource())}]
	if a.GetBoot() || d == nil {
		return nil, invalid("Cannot detach the boot disk of an instance")
	}
	i.busy = true
	return c.start(r, "detachDisk", i.GetId(), i.GetSelfLink(), func() error {
		if vm == "" || c.cfg.Guests == nil {
			return nil
		}
		return c.cfg.Guests.Detach(vm, d.forGuest(a))
	}, func(failed *Fault) {
		if i.busy = false; failed != nil {
			return
		}
		i.Disks = slices.DeleteFunc(slices.Clone(i.Disks), func(o *computepb.AttachedDisk) bool { return o == a })
		d.Users, d.LastDetachTimestamp = nil, proto.String(c.stamp())
	}), nil
}
