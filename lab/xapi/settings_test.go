package xapi_test

import (
	"testing"

	"imageport/lab/xapi"
)

func TestSettings(t *testing.T) {
	s := start(t, xapi.Config{})
	vm := s.vm("x")
	s.must(nil, "VM.set_memory_limits", vm, mib, 4*mib, 2*mib, 3*mib)
	s.refuses([]string{"MEMORY_CONSTRAINT_VIOLATION"}, "VM.set_memory_limits", vm, mib, mib, 2*mib, 3*mib)
	s.must(nil, "VM.set_VCPUs_max", vm, 4)
	s.must(nil, "VM.set_VCPUs_at_startup", vm, 4)
	s.refuses([]string{"INVALID_VALUE"}, "VM.set_VCPUs_max", vm, 2)
	s.must(nil, "VM.set_HVM_boot_params", vm, object{"firmware": "bios"})
	s.must(nil, "VM.set_HVM_boot_policy", vm, "")
	s.must(nil, "VM.set_domain_type", vm, "hvm")
	s.must(nil, "VM.set_actions_after_crash", vm, "destroy")
	s.must(nil, "VM.set_is_a_template", vm, true)
	s.must(nil, "VM.set_is_a_template", vm, false)
	var rec struct {
		Most   int64 `json:"memory_static_max"`
		CPUs   int64 `json:"VCPUs_max"`
		Domain string
		Crash  string `json:"actions_after_crash"`
		Type   string `json:"domain_type"`
	}
	s.must(&rec, "VM.get_record", vm)
	if rec.Most != 4*mib || rec.CPUs != 4 || rec.Crash != "destroy" || rec.Type != "hvm" {
		t.Errorf("%+v", rec)
	}
	s.must(nil, "VM.start", vm, false, false)
	s.refuses([]string{"VM_BAD_POWER_STATE"}, "VM.set_domain_type", vm, "pv")
	dom0 := s.refs("VM.get_by_name_label", "Control domain on host: xenserver-1")[0]
	s.refuses([]string{"OPERATION_NOT_ALLOWED"}, "VM.hard_shutdown", dom0)
}

func vifRecord(s *site, vm, device string) object {
	return object{
		"device": device, "network": s.refs("network.get_by_name_label", xapi.DefaultNetwork)[0], "VM": vm, "MAC": "", "MTU": 1500,
		"other_config": object{}, "qos_algorithm_type": "", "qos_algorithm_params": object{},
	}
}

func TestNetworkCards(t *testing.T) {
	s := start(t, xapi.Config{})
	vm := s.vm("x")
	vif := s.ref("VIF.create", vifRecord(s, vm, "0"))
	if mac := s.ref("VIF.get_MAC", vif); len(mac) != 17 {
		t.Errorf("address %q", mac)
	}
	s.refuses([]string{"DEVICE_ALREADY_EXISTS", "0"}, "VIF.create", vifRecord(s, vm, "0"))
	s.refuses([]string{"INVALID_DEVICE", "99"}, "VIF.create", vifRecord(s, vm, "99"))
	rec := vifRecord(s, vm, "1")
	rec["MAC"] = "01:00:00:00:00:00"
	s.refuses([]string{"MAC_INVALID"}, "VIF.create", rec)
	rec["network"] = "OpaqueRef:NULL"
	s.refuses([]string{"HANDLE_INVALID", "network"}, "VIF.create", rec)
	if free := s.refs("VM.get_allowed_VIF_devices", vm); free[0] != "1" {
		t.Errorf("free: %v", free)
	}
	s.must(nil, "VM.start", vm, false, false)
	s.refuses([]string{"OPERATION_NOT_ALLOWED"}, "VIF.destroy", vif)
	s.must(nil, "VM.hard_shutdown", vm)
	s.must(nil, "VIF.destroy", vif)
	if len(s.Records("VIF")) != 0 {
		t.Error("it stays")
	}
}
