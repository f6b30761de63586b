package xapi

import "strconv"

// productVersion is that of the XenServer which the hosts say they are.
const productVersion = "8.4.0"

// Names of the templates that every pool has. DebianTemplate asks for a disk of 10
// GiB in its other_config, which VM.provision makes.
const (
	MediaTemplate  = "Other install media"
	DebianTemplate = "Debian Bookworm 12"
)

// hostMemory is what a host has, domain 0 apart.
const hostMemory = 256 << 30

// freeMemory is what a host has left for VMs.
func (p *Pool) freeMemory(host string) int64 {
	free := int64(hostMemory)
	for _, ref := range p.referring("VM", "resident_on", host) {
		free -= p.get("VM", ref).number("memory_dynamic_max")
	}
	return free
}

// build makes the pool's objects.
func (p *Pool) build() {
	p.coordinator = p.addHost("xenserver-1", p.Host())
	if p.doors[1] != nil {
		p.addHost("xenserver-2", p.SupporterHost())
	}
	for _, s := range p.cfg.SRs {
		p.addSR(s)
	}
	for i, name := range p.cfg.Networks {
		p.insert("network", record{"name_label": name, "bridge": "xenbr" + strconv.Itoa(i), "managed": true, "MTU": int64(1500)})
	}
	srs := p.referring("SR", "name_label", p.cfg.SRs[0].Name)
	p.pool = p.insert("pool", record{
		"name_label": "imageport lab", "master": p.coordinator, "default_SR": srs[0],
		"suspend_image_SR": srs[0], "crash_dump_SR": srs[0],
	})
	p.addTemplate(MediaTemplate, nil)
	p.addTemplate(DebianTemplate, map[string]any{
		disksKey: `<provision><disk device="0" size="10737418240" sr="" bootable="true" type="system"/></provision>`,
	})
}

// addHost makes a host with its domain 0.
func (p *Pool) addHost(name, address string) string {
	metrics := p.insert("host_metrics", record{"memory_total": int64(hostMemory), "live": true})
	host := p.insert("host", record{
		"name_label": name, "hostname": name, "address": address, "enabled": true, "metrics": metrics,
		"API_version_major": int64(2), "API_version_minor": int64(21), "API_version_vendor": "XenSource",
		"software_version": map[string]any{
			"product_brand": "XenServer", "product_version": productVersion, "platform_name": "XCP", "platform_version": "3.4.0",
			"xapi": "24.19",
		},
		"cpu_info": map[string]any{"cpu_count": "16"},
	})
	p.insertVM(record{
		"name_label": "Control domain on host: " + name, "power_state": "Running", "is_control_domain": true,
		"resident_on": host, "domain_type": "pv", "VCPUs_max": int64(2), "VCPUs_at_startup": int64(2),
	})
	return host
}

// addSR makes a storage repository that its hosts see.
func (p *Pool) addSR(s SR) {
	kind := "lvm"
	if s.Shared {
		kind = "lvmoiscsi"
	}
	sr := p.insert("SR", record{
		"name_label": s.Name, "type": kind, "content_type": "user", "shared": s.Shared, "physical_size": s.SizeBytes,
	})
	for host := range p.objects["host"] {
		if s.Shared || host == p.coordinator {
			p.insert("PBD", record{"host": host, "SR": sr, "currently_attached": true})
		}
	}
}

// addTemplate makes one of those that a pool comes with.
func (p *Pool) addTemplate(name string, other map[string]any) {
	if other == nil {
		other = make(map[string]any)
	}
	other["default_template"] = "true"
	const memory = int64(1 << 30)
	p.insertVM(record{
		"name_label": name, "power_state": "Halted", "is_a_template": true, "is_default_template": true,
		"domain_type": "hvm", "HVM_boot_policy": "BIOS order", "HVM_boot_params": map[string]any{"order": "cdn"},
		"platform": map[string]any{
			"acpi": "true", "apic": "true", "pae": "true", "viridian": "false", "nx": "true", "device-model": "qemu-upstream-compat",
		},
		"memory_static_min": memory, "memory_dynamic_min": memory, "memory_dynamic_max": memory, "memory_static_max": memory,
		"memory_target": memory, "VCPUs_max": int64(1), "VCPUs_at_startup": int64(1),
		"actions_after_shutdown": "destroy", "actions_after_reboot": "restart", "actions_after_crash": "restart",
		"other_config": other,
	})
}
