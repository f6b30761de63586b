package xapi

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"sync"
	"time"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
)

// run is a VM that is switched on, or about to be.
type run struct {
	vm   string // reference
	name string // under which its guest knows it
	// gate is held for a call to the guests, before the pool's lock.
	gate sync.Mutex
}

// maxXenstore is the longest value with its path that xenstore takes
// (XENSTORE_PAYLOAD_MAX).
const maxXenstore = 4096

// startVM implements VM.start and VM.start_on.
func startVM(c *call) (any, error) {
	p, ref, vm := c.p, c.text(0), c.self()
	if paused, _ := c.params[len(c.params)-2].(bool); paused {
		return nil, fail("NOT_IMPLEMENTED", "start_paused")
	}
	start, err := p.guestVM(ref)
	if err != nil {
		return nil, err
	}
	r := &run{vm: ref, name: start.Name}
	p.runs[ref] = r
	p.plugAll(ref, true)
	r.gate.Lock()
	defer r.gate.Unlock()
	if err := c.unlocked(func() error {
		if p.cfg.Guests == nil {
			return nil
		}
		return p.cfg.Guests.PowerOn(start)
	}); err != nil {
		delete(p.runs, ref)
		p.plugAll(ref, false)
		return nil, internal("%v", err)
	}
	p.domains++
	vm["power_state"], vm["domid"], vm["resident_on"] = "Running", p.domains, p.coordinator
	tools := p.insert("VM_guest_metrics", record{"PV_drivers_detected": p.cfg.DriversAfter == 0, "live": true})
	vm["guest_metrics"] = tools
	if p.cfg.DriversAfter > 0 {
		time.AfterFunc(p.cfg.DriversAfter, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if m := p.get("VM_guest_metrics", tools); m != nil {
				m["PV_drivers_detected"] = true
			}
		})
	}
	if m := p.get("VM_metrics", vm.text("metrics")); m != nil {
		m["start_time"], m["current_domain_type"] = stamp(p.cfg.Now()), vm["domain_type"]
	}
	return "", nil
}

// guestVM says what the guest of a VM starts from, or why it cannot.
func (p *Pool) guestVM(ref string) (guest.VM, error) {
	vm := p.get("VM", ref)
	if err := checkMemory(vm); err != nil {
		return guest.VM{}, err
	}
	if err := checkVCPUs(vm); err != nil {
		return guest.VM{}, err
	}
	if needs, free := vm.number("memory_dynamic_max"), p.freeMemory(p.coordinator); needs > free {
		return guest.VM{}, fail("HOST_NOT_ENOUGH_FREE_MEMORY", strconv.FormatInt(needs, 10), strconv.FormatInt(free, 10))
	}
	if vm["domain_type"] != "hvm" {
		// There is no kernel to start a paravirtual domain with.
		return guest.VM{}, fail("UNKNOWN_BOOTLOADER", ref, vm.text("PV_bootloader"))
	}
	start := guest.VM{
		Name: vm.text("name_label"), UUID: vm.text("uuid"), Firmware: guest.BIOS,
		CPUs: int(vm.number("VCPUs_at_startup")), MemoryMB: vm.number("memory_dynamic_max") >> 20,
	}
	for _, r := range p.runs {
		if r.name == start.Name {
			start.Name += " (" + start.UUID + ")" // names are not unique here, but guests go by them
		}
	}
	if vm.words("HVM_boot_params")["firmware"] == "uefi" {
		start.Firmware = guest.UEFI
	}
	for key, value := range vm.words("xenstore_data") {
		if len(key)+len(value) >= maxXenstore {
			return guest.VM{}, internal("xenstore: E2BIG: %s", key)
		}
	}
	// Only what is below vm-data reaches the guest, where this key is.
	if text, ok := vm.words("xenstore_data")[media.Xenstore]; ok {
		seed, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return guest.VM{}, internal("%s: %v", media.Xenstore, err)
		}
		start.Seed = seed
	}
	vbds := p.referring("VBD", "VM", ref)
	slices.SortFunc(vbds, func(a, b string) int {
		return cmp.Compare(deviceNumber(p.get("VBD", a)), deviceNumber(p.get("VBD", b)))
	})
	for _, r := range vbds {
		vbd := p.get("VBD", r)
		if err := p.allowAttach(r, vbd); err != nil {
			return guest.VM{}, err
		}
		if vbd["type"] == "Disk" {
			start.Disks = append(start.Disks, p.guestDisk(vbd))
		}
	}
	return start, nil
}

// plugAll says of all of a VM's devices that they are attached, or are not.
func (p *Pool) plugAll(vm string, attached bool) {
	for _, class := range []string{"VBD", "VIF"} {
		for _, ref := range p.referring(class, "VM", vm) {
			d := p.get(class, ref)
			d["currently_attached"] = attached
			if class == "VBD" {
				d["device"] = ""
				if attached {
					d["device"] = deviceName(deviceNumber(d))
				}
			}
		}
	}
}

// stopVM implements VM.hard_shutdown and VM.shutdown: no guest here does what it
// is asked to.
func stopVM(c *call) (any, error) {
	c.p.powerOff(c, c.text(0))
	return "", nil
}

// powerOff switches a VM off. The caller holds the lock.
func (p *Pool) powerOff(c *call, ref string) {
	r := p.runs[ref]
	if r == nil {
		return
	}
	_ = c.unlocked(func() error {
		r.gate.Lock()
		if p.cfg.Guests != nil {
			p.cfg.Guests.PowerOff(r.name)
		}
		return nil
	})
	defer r.gate.Unlock()
	p.halted(r)
}

// halted says of a VM that it is off, if it is still that run of it.
func (p *Pool) halted(r *run) bool {
	vm := p.get("VM", r.vm)
	if p.runs[r.vm] != r || vm == nil {
		return false
	}
	delete(p.runs, r.vm)
	delete(p.objects["VM_guest_metrics"], vm.text("guest_metrics"))
	vm["power_state"], vm["domid"], vm["resident_on"], vm["guest_metrics"] = "Halted", int64(-1), null, null
	p.plugAll(r.vm, false)
	return true
}

// cleanShutdown implements VM.clean_shutdown, which needs guest tools.
func cleanShutdown(c *call) (any, error) {
	return nil, fail("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", c.text(0))
}

// GuestEnded says that the guest of a VM, which was switched on under that name,
// has switched itself off: the VM is Halted then, or started again if its
// actions_after_shutdown say so. Guests.PowerOff is not called. A method of
// Guests must not call it: it waits for those.
func (p *Pool) GuestEnded(vm string) {
	p.mu.Lock()
	var found *run
	for _, r := range p.runs {
		if r.name == vm {
			found = r
		}
	}
	p.mu.Unlock()
	if found == nil {
		return
	}
	found.gate.Lock()
	p.mu.Lock()
	again := p.halted(found) && p.get("VM", found.vm)["actions_after_shutdown"] == "restart"
	found.gate.Unlock()
	defer p.mu.Unlock()
	if again && !p.closed {
		c := &call{p: p, name: "VM.start", m: official().messages["VM.start"], params: []any{found.vm, false, false}, task: "OpaqueRef:" + newUUID()}
		_, _ = c.run() // the VM stays Halted if it cannot start
	}
}
