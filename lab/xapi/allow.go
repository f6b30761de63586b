package xapi

import (
	"maps"
	"slices"
	"strings"
)

// powerStates are those in which an operation on a VM is possible.
var powerStates = map[string][]string{
	"start": {"Halted"}, "start_on": {"Halted"}, "clone": {"Halted"}, "copy": {"Halted"}, "provision": {"Halted"},
	"destroy": {"Halted"}, "make_into_template": {"Halted"},
	"changing_memory_limits": {"Halted"}, "changing_VCPUs": {"Halted"},
	"clean_shutdown": {"Running"}, "shutdown": {"Paused", "Suspended", "Running"},
	"hard_shutdown": {"Paused", "Suspended", "Running"},
}

// templateOperations are those that a template allows.
var templateOperations = []string{"clone", "copy", "provision", "destroy", "changing_memory_limits", "changing_VCPUs"}

// vdiOperations, and which of them a disk allows that is attached.
var (
	vdiOperations  = []string{"clone", "copy", "destroy", "resize"}
	liveOperations = []string{"clone"}
)

var vbdOperations = []string{"attach", "plug", "unplug", "unplug_force"}

var srOperations = []string{"scan", "update", "vdi_create", "vdi_destroy", "vdi_clone", "vdi_resize", "plug", "unplug"}

// allow refuses an operation on an object that is not allowed now.
func (p *Pool) allow(class, ref, operation string) error {
	switch class {
	case "VM":
		return p.allowVM(ref, operation)
	case "VBD":
		return p.allowVBD(ref, operation)
	case "VDI":
		return p.allowVDI(ref, operation)
	}
	return nil
}

// allowed gives the operations that are allowed now, for information only.
func (p *Pool) allowed(class, ref string) []string {
	all := srOperations
	switch class {
	case "VM":
		all = slices.Sorted(maps.Keys(powerStates))
	case "VBD":
		all = vbdOperations
	case "VDI":
		all = vdiOperations
	}
	return slices.DeleteFunc(slices.Clone(all), func(op string) bool { return p.allow(class, ref, op) != nil })
}

// busy is the failure of an operation while others go on.
func busy(class, ref string, running map[string]any) error {
	by := slices.Sorted(maps.Keys(running))[0]
	return fail("OTHER_OPERATION_IN_PROGRESS", class, ref, running[by].(string), by)
}

// beside reports whether an operation may go on beside those that run.
func beside(operation string, running map[string]any) bool {
	for _, r := range running {
		copies := slices.Contains([]string{"clone", "copy"}, r.(string)) && slices.Contains([]string{"clone", "copy"}, operation)
		// To pull the plug is possible whatever goes on.
		if !copies && (operation != "hard_shutdown" || r == "hard_shutdown") {
			return false
		}
	}
	return true
}

func (p *Pool) allowVM(ref, operation string) error {
	vm := p.get("VM", ref)
	if running := vm.dict("current_operations"); !beside(operation, running) {
		return busy("VM", ref, running)
	}
	if vm.is("is_control_domain") {
		return fail("OPERATION_NOT_ALLOWED", "This operation is not allowed on a control domain")
	}
	if vm.is("is_a_template") && (!slices.Contains(templateOperations, operation) || operation == "destroy" && vm.is("is_default_template")) {
		return fail("VM_IS_TEMPLATE", ref, operation)
	}
	return inState(ref, vm, powerStates[operation]...)
}

// inState refuses a VM in another power state than those.
func inState(ref string, vm record, states ...string) error {
	if slices.Contains(states, vm.text("power_state")) {
		return nil
	}
	return fail("VM_BAD_POWER_STATE", ref, strings.ToLower(strings.Join(states, ", ")), strings.ToLower(vm.text("power_state")))
}

func (p *Pool) allowVBD(ref, operation string) error {
	vbd := p.get("VBD", ref)
	vmRef := vbd.text("VM")
	vm := p.get("VM", vmRef)
	if running := vbd.dict("current_operations"); len(running) > 0 {
		return busy("VBD", ref, running)
	}
	unplugs := operation == "unplug" || operation == "unplug_force"
	if unplugs && !vbd.is("unpluggable") {
		return fail("VBD_NOT_UNPLUGGABLE", ref)
	}
	if operation == "attach" {
		return p.allowAttach(ref, vbd)
	}
	if err := inState(vmRef, vm, "Running"); err != nil {
		return err
	}
	switch attached := vbd.is("currently_attached"); {
	case attached && operation == "plug":
		return fail("DEVICE_ALREADY_ATTACHED", ref)
	case !attached && unplugs:
		return fail("DEVICE_ALREADY_DETACHED", ref)
	}
	for _, op := range vm.dict("current_operations") {
		if op == "hard_shutdown" || op == "shutdown" || op == "clean_shutdown" {
			return fail("OPERATION_NOT_ALLOWED", "Current operation on VM:"+vmRef+" is "+op.(string))
		}
	}
	// Whether a guest can do it shows when its drivers have connected.
	if tools := p.get("VM_guest_metrics", vm.text("guest_metrics")); tools == nil || !tools.is("PV_drivers_detected") {
		return fail("VM_MISSING_PV_DRIVERS", vmRef)
	}
	if vbd["type"] == "CD" {
		return fail("OPERATION_NOT_ALLOWED", "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected")
	}
	if operation == "plug" {
		return p.allowAttach(ref, vbd)
	}
	return nil
}

// allowAttach refuses a disk that is another VM's now, or is not fit for this one.
func (p *Pool) allowAttach(ref string, vbd record) error {
	if vbd.is("empty") {
		return nil
	}
	vdiRef := vbd.text("VDI")
	vdi := p.get("VDI", vdiRef)
	if vdi == nil {
		return fail("HANDLE_INVALID", "VDI", vdiRef)
	}
	writes := vbd["mode"] == "RW"
	if vbd["type"] == "Disk" && !writes {
		return fail("DISK_VBD_MUST_BE_READWRITE_FOR_HVM", ref)
	}
	for by, op := range vdi.dict("current_operations") {
		if op != "copy" {
			return fail("OTHER_OPERATION_IN_PROGRESS", "VDI", vdiRef, op.(string), by)
		}
	}
	if p.imports[vdiRef] > 0 {
		return fail("VDI_IN_USE", vdiRef)
	}
	if !vdi.is("sharable") {
		for _, other := range p.referring("VBD", "VDI", vdiRef) {
			o := p.get("VBD", other)
			if other != ref && o.is("currently_attached") && (writes || o["mode"] == "RW") {
				return fail("VDI_IN_USE", vdiRef)
			}
		}
	}
	if writes && vdi.is("read_only") {
		return fail("VDI_READONLY", vdiRef)
	}
	return nil
}

func (p *Pool) allowVDI(ref, operation string) error {
	vdi := p.get("VDI", ref)
	if running := vdi.dict("current_operations"); !beside(operation, running) {
		return busy("VDI", ref, running)
	}
	for _, r := range p.referring("VBD", "VDI", ref) {
		vbd := p.get("VBD", r)
		reads := operation == "copy" && vbd["mode"] == "RO"
		if vbd.is("currently_attached") && !reads && !slices.Contains(liveOperations, operation) {
			return fail("VDI_IN_USE", ref, operation)
		}
		if running := vbd.dict("current_operations"); len(running) > 0 {
			return busy("VDI", ref, running)
		}
	}
	if p.imports[ref] > 0 {
		return fail("VDI_IN_USE", ref, operation)
	}
	return nil
}
