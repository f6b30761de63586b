package xapi_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
	"imageport/lab/xapi"
	"imageport/platforms"
)

func (s *site) state(vm string) string {
	s.t.Helper()
	return s.ref("VM.get_power_state", vm)
}

func TestMachineLives(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	vm, boot := s.machine("ce")
	out := s.vdi("out", 6*mib)
	s.vbd(vm, out, "3")
	s.must(nil, "VM.set_xenstore_data", vm, object{media.Xenstore: base64.StdEncoding.EncodeToString([]byte("seed")), "other": "x"})
	s.must(nil, "VM.start", vm, false, false)
	got, on := g.vm("ce")
	if !on {
		t.Fatal("no guest")
	}
	want := guest.VM{
		Name: "ce", UUID: s.ref("VM.get_uuid", vm), Firmware: guest.UEFI, CPUs: 2, MemoryMB: 256, Seed: []byte("seed"),
		Disks: []guest.Disk{
			{Selector: platforms.ByXen(51712), File: s.file(boot), SizeBytes: 4 * mib, Name: "ce-disk"},
			{Selector: platforms.ByXen(51712 + 48), File: s.file(out), SizeBytes: 6 * mib, Name: "out"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the guest is %+v, want %+v", got, want)
	}
	var rec struct {
		State    string `json:"power_state"`
		Resident string `json:"resident_on"`
		Domid    int64
		Metrics  string
	}
	s.must(&rec, "VM.get_record", vm)
	if rec.State != "Running" || rec.Resident != s.refs("host.get_all")[0] || rec.Domid <= 0 {
		t.Errorf("running: %+v", rec)
	}
	if at := s.ref("VM_metrics.get_start_time", rec.Metrics); strings.HasPrefix(at, "1970") {
		t.Errorf("started %s", at)
	}

	var free int64
	s.must(&free, "host.compute_free_memory", rec.Resident)
	if free != 256<<30-256*mib {
		t.Errorf("%d bytes are free", free)
	}
	s.refuses([]string{"VM_BAD_POWER_STATE", vm, "halted", "running"}, "VM.start", vm, false, false)
	s.refuses([]string{"VM_BAD_POWER_STATE", vm, "halted", "running"}, "VM.destroy", vm)
	s.refuses([]string{"VM_BAD_POWER_STATE"}, "VM.clone", vm, "copy")
	s.refuses([]string{"VM_BAD_POWER_STATE"}, "VM.set_memory_limits", vm, mib, mib, mib, mib)
	s.refuses([]string{"VM_BAD_POWER_STATE"}, "VM.set_is_a_template", vm, true)
	s.refuses([]string{"VDI_IN_USE", out, "destroy"}, "VDI.destroy", out)
	s.refuses([]string{"VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm}, "VM.clean_shutdown", vm)

	s.must(nil, "VM.hard_shutdown", vm)
	if s.state(vm) != "Halted" {
		t.Error(s.state(vm))
	}
	s.refuses([]string{"VM_BAD_POWER_STATE", vm, "paused, suspended, running", "halted"}, "VM.hard_shutdown", vm)
	if log := g.said(); !slices.Equal(log, []string{"on ce", "off ce"}) {
		t.Error(log)
	}
	s.must(nil, "VM.destroy", vm)
	s.refuses([]string{"HANDLE_INVALID", "VM", vm}, "VM.destroy", vm)
	if len(s.refs("VBD.get_all")) != 0 {
		t.Error("its devices stay")
	}
	for _, vdi := range []string{boot, out} {
		s.must(nil, "VDI.get_record", vdi)
		s.must(nil, "VDI.destroy", vdi)
	}
	if len(s.VDIs()) != 0 {
		t.Errorf("disks stay: %v", s.VDIs())
	}
}

func TestCloneOfTemplate(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	rec := vmRecord("appliance")
	rec["is_a_template"], rec["other_config"] = true, object{"mark": "of the template"}
	template := s.ref("VM.create", rec)
	disk := s.vdi("appliance", 4*mib)
	s.vbd(template, disk, "0")
	s.ref("VIF.create", vifRecord(s, template, "0"))
	s.write(disk, []byte("appliance"), mib)

	s.refuses([]string{"VM_IS_TEMPLATE", template, "start"}, "VM.start", template, false, false)
	done := s.await(s.ref("Async.VM.clone", template, "ce"))
	if done.Status != "success" || done.Progress != 1 {
		t.Fatalf("%+v", done)
	}
	vm := strings.TrimSuffix(strings.TrimPrefix(done.Result, "<value>"), "</value>")
	var got struct {
		Name     string            `json:"name_label"`
		Template bool              `json:"is_a_template"`
		Other    map[string]string `json:"other_config"`
		VBDs     []string
		VIFs     []string
	}
	s.must(&got, "VM.get_record", vm)
	if got.Name != "ce" || !got.Template || got.Other["mark"] != "of the template" || got.Other["base_template_name"] != "appliance" || len(got.VIFs) != 1 {
		t.Errorf("%+v", got)
	}
	copied := s.ref("VBD.get_VDI", got.VBDs[0])
	if copied == disk || !bytes.Equal(s.read(copied), s.read(disk)) {
		t.Error("its disk is no copy")
	}
	if s.ref("VDI.get_name_label", copied) != "appliance" {
		t.Error("the copy has not the name of the disk")
	}
	s.refuses([]string{"VM_IS_TEMPLATE"}, "VM.start", vm, false, false)
	s.must(nil, "VM.provision", vm)
	s.must(nil, "VM.start", vm, false, false)
	if v, _ := g.vm("ce"); len(v.Disks) != 1 || v.Disks[0].File != s.file(copied) {
		t.Errorf("the guest has %+v", v.Disks)
	}

	s.must(nil, "VM.add_to_other_config", vm, "job", "1")
	s.refuses([]string{"MAP_DUPLICATE_KEY", "VM", "other_config", vm, "job"}, "VM.add_to_other_config", vm, "job", "2")
	s.must(nil, "VM.remove_from_other_config", vm, "job")
	s.must(nil, "VM.add_to_other_config", vm, "job", "2")
	s.must(nil, "VM.add_tags", vm, "x")
	s.must(nil, "VM.add_tags", vm, "x")
	if tags := s.refs("VM.get_tags", vm); !slices.Equal(tags, []string{"x"}) {
		t.Errorf("tags %v", tags)
	}
	s.must(nil, "VM.remove_tags", vm, "x")
}

func TestDefaultTemplates(t *testing.T) {
	s := start(t, xapi.Config{})
	media := s.refs("VM.get_by_name_label", xapi.MediaTemplate)[0]
	s.refuses([]string{"VM_IS_TEMPLATE", media, "destroy"}, "VM.destroy", media)
	for _, c := range []struct {
		template string
		remove   bool
		disks    int
	}{{xapi.MediaTemplate, false, 0}, {xapi.DebianTemplate, true, 0}, {xapi.DebianTemplate, false, 1}} {
		vm := s.ref("VM.clone", s.refs("VM.get_by_name_label", c.template)[0], "vm")
		if c.remove {
			s.must(nil, "VM.remove_from_other_config", vm, "disks")
		}
		s.must(nil, "VM.provision", vm)
		if n := len(s.refs("VM.get_VBDs", vm)); n != c.disks || len(s.VDIs()) != c.disks {
			t.Errorf("%+v: %d devices, %d disks", c, n, len(s.VDIs()))
		}
		s.must(nil, "VM.start", vm, false, false)
	}
	for code, disks := range map[string]string{
		"INTERNAL_ERROR":        "<provision>",
		"UUID_INVALID":          `<provision><disk size="1048576" sr="none"/></provision>`,
		"SR_BACKEND_FAILURE_79": `<provision><disk size="1048576"/><disk size="1"/></provision>`,
		"":                      `<provision><disk device="1" size="1048576" sr="` + s.ref("SR.get_uuid", s.sr(xapi.SharedSR)) + `"/></provision>`,
	} {
		before := len(s.VDIs())
		vm := s.ref("VM.clone", media, "vm")
		s.must(nil, "VM.add_to_other_config", vm, "disks", disks)
		if code == "" {
			s.must(nil, "VM.provision", vm)
			continue
		}
		s.refuses([]string{code}, "VM.provision", vm)
		if len(s.VDIs()) != before {
			t.Errorf("%s leaves disks", disks)
		}
	}
	s.Fill(xapi.DefaultSR, 0)
	vm := s.ref("VM.clone", s.refs("VM.get_by_name_label", xapi.DebianTemplate)[0], "full")
	s.refuses([]string{"SR_FULL"}, "VM.provision", vm)
}

// Two VMs of one name are two guests.
func TestNamesAreNotUnique(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	a, _ := s.machine("ce")
	b, _ := s.machine("ce")
	if refs := s.refs("VM.get_by_name_label", "ce"); len(refs) != 2 {
		t.Errorf("%v", refs)
	}
	s.must(nil, "VM.start", a, false, false)
	s.must(nil, "VM.start", b, false, false)
	other := "ce (" + s.ref("VM.get_uuid", b) + ")"
	if log := g.said(); !slices.Equal(log, []string{"on ce", "on " + other}) {
		t.Error(log)
	}
	s.GuestEnded(other)
	if s.state(a) != "Running" || s.state(b) != "Halted" {
		t.Errorf("%s, %s", s.state(a), s.state(b))
	}
}

func TestGuestEnds(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	vm, _ := s.machine("ce")
	s.GuestEnded("ce")
	s.must(nil, "VM.start", vm, false, false)
	s.GuestEnded("another")
	if s.state(vm) != "Running" {
		t.Error("another's guest ended")
	}
	s.GuestEnded("ce")
	if s.state(vm) != "Halted" {
		t.Errorf("it is %s", s.state(vm))
	}
	s.must(nil, "VM.set_actions_after_shutdown", vm, "restart")
	s.must(nil, "VM.start", vm, false, false)
	s.GuestEnded("ce")
	if log := g.said(); s.state(vm) != "Running" || !slices.Equal(log, []string{"on ce", "on ce", "on ce"}) {
		t.Errorf("%s, %v", s.state(vm), log)
	}
}

func TestMachinesThatCannotStart(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	for name, c := range map[string]struct {
		change func(object)
		code   string
	}{
		"no kernel":    {func(r object) { r["HVM_boot_policy"] = "" }, "UNKNOWN_BOOTLOADER"},
		"no processor": {func(r object) { r["VCPUs_at_startup"] = 0 }, "INVALID_VALUE"},
		"memory":       {func(r object) { r["memory_dynamic_max"] = 1 << 40 }, "MEMORY_CONSTRAINT_VIOLATION"},
		"no memory": {func(r object) {
			r["memory_dynamic_max"], r["memory_static_max"] = 1<<40, 1<<40
		}, "HOST_NOT_ENOUGH_FREE_MEMORY"},
		"no Base64":  {func(r object) { r["xenstore_data"] = object{media.Xenstore: "!"} }, "INTERNAL_ERROR"},
		"long value": {func(r object) { r["xenstore_data"] = object{"vm-data/x": strings.Repeat("x", 4096)} }, "INTERNAL_ERROR"},
	} {
		t.Run(name, func(*testing.T) {
			rec := vmRecord(name)
			c.change(rec)
			s.refuses([]string{c.code}, "VM.start", s.ref("VM.create", rec), false, false)
		})
	}
	vm, disk := s.machine("guest fails")
	g.failing("on", errors.New("no"))
	s.refuses([]string{"INTERNAL_ERROR", "no"}, "VM.start", vm, false, false)
	g.failing("on", nil)
	if s.state(vm) != "Halted" {
		t.Error(s.state(vm))
	}
	second := s.vm("second")
	s.vbd(second, disk, "0")
	s.must(nil, "VM.start", vm, false, false)
	s.refuses([]string{"VDI_IN_USE", disk}, "VM.start", second, false, false)
	s.refuses([]string{"NOT_IMPLEMENTED"}, "VM.start", s.vm("paused"), true, false)
}

func TestOperationsExcludeEachOther(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, disk := s.machine("ce")
	s.Delay("VM.start", 300*time.Millisecond)
	task := s.ref("Async.VM.start", vm, false, false)
	for s.busy(vm) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.refuses([]string{"OTHER_OPERATION_IN_PROGRESS", "VM", vm, "start"}, "VM.start", vm, false, false)
	s.refuses([]string{"OTHER_OPERATION_IN_PROGRESS"}, "VM.destroy", vm)
	if ops := s.refs("VM.get_allowed_operations", vm); len(ops) != 0 {
		t.Errorf("allowed meanwhile: %v", ops)
	}
	if got := s.await(task); got.Status != "success" {
		t.Errorf("%+v", got)
	}
	if ops := s.refs("VM.get_allowed_operations", vm); !slices.Contains(ops, "hard_shutdown") || slices.Contains(ops, "start") {
		t.Errorf("allowed then: %v", ops)
	}
	s.must(nil, "VM.hard_shutdown", vm)

	// Clones of one VM are made side by side.
	s.Delay("VM.clone", 200*time.Millisecond)
	a, b := s.ref("Async.VM.clone", vm, "a"), s.ref("Async.VM.clone", vm, "b")
	for s.busy(vm) < 2 {
		time.Sleep(time.Millisecond)
	}
	s.refuses([]string{"OTHER_OPERATION_IN_PROGRESS"}, "VM.destroy", vm)
	for _, task := range []string{a, b} {
		if got := s.await(task); got.Status != "success" {
			t.Errorf("%+v", got)
		}
	}
	s.Delay("VDI.copy", 200*time.Millisecond)
	task = s.ref("Async.VDI.copy", disk, s.sr(xapi.SharedSR), "OpaqueRef:NULL", "OpaqueRef:NULL")
	for len(s.Records("VDI")[disk]["current_operations"].(map[string]any)) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.refuses([]string{"OTHER_OPERATION_IN_PROGRESS", "VDI", disk, "copy"}, "VDI.destroy", disk)
	s.await(task)
}

// Many clients do all of it at once, and leave nothing.
func TestManyAtOnce(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	template, disk := s.machine("template")
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			try := func(out any, method string, params ...any) {
				if err := s.call(out, method, params...); err != nil {
					t.Errorf("%d: %s: %v", n, method, err)
				}
			}
			for range 5 {
				var vm, vdi, vbd string
				var vbds []string
				try(&vm, "VM.clone", template, "clone")
				try(nil, "VM.start", vm, false, false)
				try(&vdi, "VDI.create", s.vdiRecord("out", mib))
				try(&vbd, "VBD.create", vbdRecord(vm, vdi, "1"))
				try(nil, "VBD.plug", vbd)
				if n%2 == 0 {
					try(nil, "VBD.unplug", vbd)
				}
				try(nil, "VM.hard_shutdown", vm)
				try(&vbds, "VM.get_VBDs", vm)
				for _, b := range vbds {
					try(&vdi, "VBD.get_VDI", b)
					try(nil, "VDI.destroy", vdi)
				}
				try(nil, "VM.destroy", vm)
			}
		}()
	}
	clients.Wait()
	if left := s.VDIs(); len(left) != 1 || left[0].Ref != disk || s.named("clone") != 0 || len(s.Records("VBD")) != 1 {
		t.Errorf("left: %+v, %d devices", left, len(s.Records("VBD")))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.on) != 0 {
		t.Errorf("on: %v", g.on)
	}
}

func (s *site) busy(vm string) int {
	ops, _ := s.Records("VM")[vm]["current_operations"].(map[string]any)
	return len(ops)
}
