package xapi

import (
	"fmt"
	"slices"
	"strconv"
)

// macSeed is the key in other_config from which the addresses of a VM's cards are
// made.
const macSeed = "mac_seed"

// createVM implements VM.create. Whether it makes sense shows at VM.start.
func createVM(c *call) (any, error) {
	rec := c.record(0)
	rec["power_state"] = "Halted"
	if _, given := rec.dict("other_config")[macSeed]; !given {
		rec.dict("other_config")[macSeed] = newUUID()
	}
	if rec["domain_type"] == nil || rec["domain_type"] == "unspecified" {
		rec["domain_type"] = domainType(rec.text("HVM_boot_policy"))
	}
	return c.p.insertVM(rec), nil
}

func (p *Pool) insertVM(rec record) string {
	rec["domid"], rec["metrics"] = int64(-1), p.insert("VM_metrics", record{"last_updated": stamp(p.cfg.Now())})
	return p.insert("VM", rec)
}

// domainType is that of a VM that does not say.
func domainType(bootPolicy string) string {
	if bootPolicy == "" {
		return "pv"
	}
	return "hvm"
}

// destroyVM implements VM.destroy, which leaves the disks.
func destroyVM(c *call) (any, error) {
	p, ref := c.p, c.text(0)
	for _, class := range []string{"VBD", "VIF"} {
		for _, r := range p.referring(class, "VM", ref) {
			delete(p.objects[class], r)
		}
	}
	delete(p.objects["VM_metrics"], c.self().text("metrics"))
	delete(p.objects["VM"], ref)
	return "", nil
}

// cloneVM implements VM.clone.
func cloneVM(c *call) (any, error) { return c.copyVM(null) }

// copyVMTo implements VM.copy.
func copyVMTo(c *call) (any, error) { return c.copyVM(c.text(2)) }

// copyVM makes the disks first, then the VM with all that the first one has, also
// its marks.
func (c *call) copyVM(sr string) (_ string, err error) {
	p := c.p
	disks := make(map[string]string) // by the VBD's reference
	defer func() {
		if err != nil {
			for _, vdi := range disks {
				p.removeVDI(vdi)
			}
		}
	}()
	for _, ref := range p.referring("VBD", "VM", c.text(0)) {
		vbd := p.get("VBD", ref)
		if vbd["type"] != "Disk" {
			continue
		}
		if disks[ref], err = c.copyVDI(vbd.text("VDI"), sr, "clone"); err != nil {
			delete(disks, ref)
			return "", err
		}
		select {
		case <-c.cancel:
			return "", fail("TASK_CANCELLED", c.task)
		default:
		}
	}
	if err := c.handles(); err != nil {
		return "", err
	}
	from := c.self()
	rec := from.clone()
	rec["name_label"] = c.params[1]
	rec["current_operations"], rec["is_default_template"] = map[string]any{}, false
	other := rec.dict("other_config")
	other[macSeed] = newUUID()
	delete(other, "default_template")
	if _, given := other["base_template_name"]; from.is("is_a_template") && !given {
		other["base_template_name"] = from["name_label"]
	}
	vm := p.insertVM(rec)
	for _, ref := range p.referring("VBD", "VM", c.text(0)) {
		vbd := p.get("VBD", ref).clone()
		vbd["VM"], vbd["current_operations"] = vm, map[string]any{}
		if vdi, ok := disks[ref]; ok {
			vbd["VDI"] = vdi
			vbd.dict("other_config")["owner"] = ""
		}
		p.insert("VBD", vbd)
	}
	for _, ref := range p.referring("VIF", "VM", c.text(0)) {
		vif := p.get("VIF", ref).clone()
		vif["VM"], vif["MAC"] = vm, newMAC()
		p.insert("VIF", vif)
	}
	return vm, nil
}

// setTemplate implements VM.set_is_a_template.
func setTemplate(c *call) (any, error) {
	if becomes, _ := c.params[1].(bool); becomes && !c.self().is("is_a_template") {
		if err := c.p.allowVM(c.text(0), "make_into_template"); err != nil {
			return nil, err
		}
	}
	c.self()["is_a_template"] = c.params[1]
	return "", nil
}

// setMemoryLimits implements VM.set_memory_limits.
func setMemoryLimits(c *call) (any, error) {
	limits := record{
		"memory_static_min": c.params[1], "memory_static_max": c.params[2],
		"memory_dynamic_min": c.params[3], "memory_dynamic_max": c.params[4],
	}
	if err := checkMemory(limits); err != nil {
		return nil, err
	}
	for name, v := range limits {
		c.self()[name] = v
	}
	c.self()["memory_target"] = c.params[4]
	return "", nil
}

// checkMemory refuses limits that no VM can have.
func checkMemory(vm record) error {
	if vm.number("memory_static_min") <= vm.number("memory_dynamic_min") &&
		vm.number("memory_dynamic_min") <= vm.number("memory_dynamic_max") &&
		vm.number("memory_dynamic_max") <= vm.number("memory_static_max") && vm.number("memory_dynamic_min") > 0 {
		return nil
	}
	return fail("MEMORY_CONSTRAINT_VIOLATION", "Memory limits must satisfy: static_min <= dynamic_min <= dynamic_max <= static_max")
}

// setVCPUs implements VM.set_VCPUs_max and VM.set_VCPUs_at_startup.
func setVCPUs(c *call) (any, error) {
	_, name := accessor(c.m.verb)
	after := record{"VCPUs_max": c.self()["VCPUs_max"], "VCPUs_at_startup": c.self()["VCPUs_at_startup"]}
	after[name] = c.params[1]
	if err := checkVCPUs(after); err != nil {
		return nil, err
	}
	c.self()[name] = c.params[1]
	return "", nil
}

func checkVCPUs(vm record) error {
	start, most := vm.number("VCPUs_at_startup"), vm.number("VCPUs_max")
	if 0 < start && start <= most {
		return nil
	}
	return fail("INVALID_VALUE", "VCPU values must satisfy: 0 < VCPUs_at_startup ≤ VCPUs_max", fmt.Sprintf("%d, %d", start, most))
}

// setBootPolicy implements VM.set_HVM_boot_policy, which says what kind of
// domain the VM is, too.
func setBootPolicy(c *call) (any, error) {
	c.self()["HVM_boot_policy"], c.self()["domain_type"] = c.params[1], domainType(c.text(1))
	return "", nil
}

// setHalted implements what sets a field of a VM that is off.
func setHalted(c *call) (any, error) {
	if err := inState(c.text(0), c.self(), "Halted"); err != nil {
		return nil, err
	}
	return assign(c)
}

// assign implements what sets a field, by a message of its own.
func assign(c *call) (any, error) {
	_, name := accessor(c.m.verb)
	c.self()[name] = c.params[1]
	return "", nil
}

// freeDevices implements VM.get_allowed_VBD_devices and
// VM.get_allowed_VIF_devices.
func freeDevices(class, by string, most int) func(*call) (any, error) {
	return func(c *call) (any, error) {
		used := c.p.devices(class, by, c.text(0))
		free := []string{}
		for n := 0; n < most; n++ {
			if s := strconv.Itoa(n); !slices.Contains(used, s) {
				free = append(free, s)
			}
		}
		return free, nil
	}
}

// devices gives the devices that a VM has.
func (p *Pool) devices(class, by, vm string) []string {
	var all []string
	for _, ref := range p.referring(class, "VM", vm) {
		all = append(all, p.get(class, ref).text(by))
	}
	return all
}
