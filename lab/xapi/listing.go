package xapi

import (
	"cmp"
	"slices"
)

// VM is a VM, a template or a domain 0 as the pool has it.
type VM struct {
	Ref, UUID, Name string
	PowerState      string // "Halted", "Running"
	Template        bool
	// Default is of the templates that a pool comes with.
	Default       bool
	ControlDomain bool
	OtherConfig   map[string]string
	XenstoreData  map[string]string
	VDIs          []string // references of its disks, by device
}

// VDI is a disk as the pool has it.
type VDI struct {
	Ref, UUID, Name string
	SR              string // name
	SizeBytes       int64
	File            string // its bytes, raw
	OtherConfig     map[string]string
	VMs             []string // references of the VMs that have it
	Attached        bool     // to a VM that runs
}

// VMs gives all VMs, sorted by name and reference.
func (p *Pool) VMs() []VM {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []VM
	for ref, o := range p.objects["VM"] {
		vm := VM{
			Ref: ref, UUID: o.text("uuid"), Name: o.text("name_label"), PowerState: o.text("power_state"),
			Template: o.is("is_a_template"), Default: o.is("is_default_template"), ControlDomain: o.is("is_control_domain"),
			OtherConfig: o.words("other_config"), XenstoreData: o.words("xenstore_data"),
		}
		vbds := p.referring("VBD", "VM", ref)
		slices.SortFunc(vbds, func(a, b string) int {
			return cmp.Compare(deviceNumber(p.get("VBD", a)), deviceNumber(p.get("VBD", b)))
		})
		for _, r := range vbds {
			if vdi := p.get("VBD", r).text("VDI"); vdi != null {
				vm.VDIs = append(vm.VDIs, vdi)
			}
		}
		all = append(all, vm)
	}
	slices.SortFunc(all, func(a, b VM) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Ref, b.Ref)) })
	return all
}

// VDIs gives all disks, sorted by name and reference.
func (p *Pool) VDIs() []VDI {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []VDI
	for ref, o := range p.objects["VDI"] {
		vdi := VDI{
			Ref: ref, UUID: o.text("uuid"), Name: o.text("name_label"), SR: p.get("SR", o.text("SR")).text("name_label"),
			SizeBytes: o.number("virtual_size"), File: p.file(o), OtherConfig: o.words("other_config"),
		}
		for _, r := range p.referring("VBD", "VDI", ref) {
			vbd := p.get("VBD", r)
			vdi.VMs = append(vdi.VMs, vbd.text("VM"))
			vdi.Attached = vdi.Attached || vbd.is("currently_attached")
		}
		all = append(all, vdi)
	}
	slices.SortFunc(all, func(a, b VDI) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Ref, b.Ref)) })
	return all
}

// Records gives the records of a class ("VIF", "task") by their references, as
// get_all_records does.
func (p *Pool) Records(class string) map[string]map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]map[string]any, len(p.objects[class]))
	for ref := range p.objects[class] {
		all[ref] = p.show(class, ref)
	}
	return all
}
