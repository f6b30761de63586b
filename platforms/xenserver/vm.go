package xenserver

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

// keySeed is where the appliance looks for its seed, in base64. Of all of
// xenstore_data only what is below vm-data reaches the guest.
const keySeed = "vm-data/" + seed.Key

// The power states that a VM can be in.
const (
	halted  = "Halted"
	running = "Running"
	paused  = "Paused"
)

// vm is a VM as it was read.
type vm struct {
	ref      xapi.Ref
	UUID     string            `json:"uuid"`
	Name     string            `json:"name_label"`
	Power    string            `json:"power_state"`
	Template bool              `json:"is_a_template"`
	Snapshot bool              `json:"is_a_snapshot"`
	Control  bool              `json:"is_control_domain"`
	Marks    marks             `json:"other_config"`
	Xenstore map[string]string `json:"xenstore_data"`
	VBDs     []xapi.Ref        `json:"VBDs"`
	VIFs     []xapi.Ref        `json:"VIFs"`
	// Operations are those that go on, by their tasks.
	Operations map[string]string `json:"current_operations"`
}

// isCE reports whether the VM is of a CE that imageport made under the name that
// it has.
func (v *vm) isCE() bool { return !v.Template && v.Marks.complete() && v.Marks[keyCE] == v.Name }

// dead reports whether the VM is one that is to go.
func (v *vm) dead() bool { return v.Marks[keyEnding] != "" || v.Marks[keyVerdict] == rejected }

func (v *vm) elected() bool { return v.Marks[keyVerdict] == elected && !v.dead() }

// on reports whether the VM is switched on. One that somebody paused is.
func (v *vm) on() bool { return v.Power == running || v.Power == paused }

// instance gives the CE.
func (v *vm) instance(address string) platforms.Instance {
	state := platforms.Stopped
	if v.on() {
		state = platforms.Running
	}
	return v.Marks.instance(state, address+"/"+v.UUID)
}

// better orders the VMs of one CE: the one that is elected comes first, and if
// there were two of those, one that runs; those that are to go come last; and of
// equal ones the smaller UUID comes first.
func better(a, b *vm) int {
	rank := func(v *vm) int {
		switch {
		case v.elected() && v.on():
			return 0
		case v.elected():
			return 1
		case !v.dead():
			return 2
		}
		return 3
	}
	if c := rank(a) - rank(b); c != 0 {
		return c
	}
	return strings.Compare(a.UUID, b.UUID)
}

// readVM reads a VM; it is nil if it is no more.
func (d *Driver) readVM(ctx context.Context, ref xapi.Ref) (*vm, error) {
	v := &vm{ref: ref}
	err := d.client.Call(ctx, "VM.get_record", v, ref)
	if gone(err) {
		return nil, nil
	}
	return v, err
}

// lookCEs reads the VMs of the CE of that name, the one that counts first. There
// is more than one as long as several callers make it. It fails with Foreign if
// there is another VM of that name: imageport would not mix them up, but people
// might.
func (d *Driver) lookCEs(ctx context.Context, name string) ([]*vm, error) {
	if err := checkCEName(name); err != nil {
		return nil, err
	}
	ces, err := d.namedVMs(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, v := range ces {
		if !v.isCE() {
			return nil, platforms.Errorf(platforms.Foreign, "there is a VM of that name (%s) that imageport did not make", v.UUID)
		}
	}
	slices.SortFunc(ces, better)
	return ces, nil
}

func checkCEName(name string) error {
	if !seed.ValidName(name) {
		return platforms.Errorf(platforms.BadRequest, "%q is no name for a CE (ce- and 12 hexadecimal digits)", name)
	}
	return nil
}

// namedVMs reads the VMs of that name, without snapshots.
func (d *Driver) namedVMs(ctx context.Context, name string) ([]*vm, error) {
	var refs []xapi.Ref
	if err := d.client.Call(ctx, "VM.get_by_name_label", &refs, name); err != nil {
		return nil, err
	}
	var all []*vm
	for _, ref := range refs {
		v, err := d.readVM(ctx, ref)
		if err != nil {
			return nil, err
		}
		if v != nil && !v.Snapshot && v.Name == name { // not gone, nor renamed meanwhile
			all = append(all, v)
		}
	}
	return all, nil
}

// withCE calls do with the VM that counts of the CE until that is done, or there
// is none.
func (d *Driver) withCE(ctx context.Context, name string, do func(*vm) (done bool, err error)) (found bool, err error) {
	err = d.patiently(ctx, func() (bool, error) {
		ces, err := d.lookCEs(ctx, name)
		if err != nil || len(ces) == 0 {
			return err == nil, err
		}
		found = true
		return do(ces[0])
	})
	return found, err
}

// createVM makes the VM of a CE, with all its marks, and no devices. It depends on
// no template of the site.
func (d *Driver) createVM(ctx context.Context, ce platforms.Spec, secret string) error {
	h := hardware{
		memory: int64(d.p.cfg.MemoryMB) * mib, cpus: d.p.cfg.CPUs, firmware: job.UEFI,
		// A CE that restarts itself is off, as one that is to be started again with
		// another seed has to be.
		onReboot: "destroy",
		platform: map[string]string{"viridian": "false"},
	}
	record := h.record(ce.Name, "Compositing Engine of imageport, for the job "+ce.Job, newMarks(ce, d.p.cfg.Now()))
	record["xenstore_data"] = map[string]string{keySeed: secret}
	if err := d.client.Call(ctx, "VM.create", nil, record); err != nil {
		return fmt.Errorf("make the VM: %w", err)
	}
	return nil
}

// hardware is what a VM of ours is made of, besides its devices.
type hardware struct {
	memory   int64 // bytes
	cpus     int
	firmware job.Firmware
	onReboot string            // what becomes of it when its guest restarts
	platform map[string]string // in addition to what all have
}

// record gives the VM that VM.create makes, a fully virtualized one.
func (h hardware) record(name, description string, m marks) map[string]any {
	none := map[string]string{}
	platform := map[string]string{
		"acpi": "1", "apic": "true", "pae": "true", "nx": "true", "device-model": deviceModels[h.firmware],
		"secureboot": "false", "cores-per-socket": strconv.Itoa(h.cpus),
	}
	maps.Copy(platform, h.platform)
	return map[string]any{
		"name_label": name, "name_description": description,
		"user_version": 1, "is_a_template": false, "affinity": xapi.Null,
		"memory_static_max": h.memory, "memory_dynamic_max": h.memory, "memory_dynamic_min": h.memory, "memory_static_min": h.memory,
		"VCPUs_params": none, "VCPUs_max": h.cpus, "VCPUs_at_startup": h.cpus,
		// What is destroyed is the domain, not the VM: that is off then.
		"actions_after_shutdown": "destroy", "actions_after_reboot": h.onReboot, "actions_after_crash": "destroy",
		"PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "", "PV_bootloader_args": "", "PV_legacy_args": "",
		"HVM_boot_policy": "BIOS order", "HVM_boot_params": map[string]string{"order": "c", "firmware": string(h.firmware)},
		"platform": platform, "PCI_bus": "", "recommendations": "", "other_config": m,
	}
}

// deviceModels are the programs that emulate a VM's devices, by its firmware.
var deviceModels = map[job.Firmware]string{
	job.BIOS: "qemu-upstream-compat",
	job.UEFI: "qemu-upstream-uefi",
}

// encodeSeed gives the seed as the appliance looks for it.
func encodeSeed(s seed.Seed) (string, error) {
	b, err := s.Encode()
	if err != nil {
		return "", &platforms.Error{Kind: platforms.BadRequest, Err: err}
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// addMark adds a key to the other_config of an object of a class. It reports
// whether it was this call that did: a key is added once.
func (d *Driver) addMark(ctx context.Context, class string, ref xapi.Ref, key, value string) (added bool, err error) {
	err = d.client.Call(ctx, class+".add_to_other_config", nil, ref, key, value)
	if is(err, "MAP_DUPLICATE_KEY") {
		return false, nil
	}
	return err == nil, err
}

// powerOff pulls the plug.
func (d *Driver) powerOff(ctx context.Context, v *vm) error {
	if v.Power == halted {
		return nil
	}
	if err := d.client.Run(ctx, "VM.hard_shutdown", v.ref); err != nil {
		return fmt.Errorf("switch it off: %w", err)
	}
	return nil
}
