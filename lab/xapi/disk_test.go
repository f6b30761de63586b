package xapi_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/lab/xapi"
	"imageport/platforms"
)

func TestDisksAreSparseFiles(t *testing.T) {
	s := start(t, xapi.Config{})
	for asked, want := range map[int64]int64{mib: 2 * mib, 2 * mib: 2 * mib, 65 * mib: 66 * mib, 1 << 40: 1 << 40} {
		vdi := s.vdi("x", asked)
		var size int64
		s.must(&size, "VDI.get_virtual_size", vdi)
		var st unix.Stat_t
		if err := unix.Stat(s.file(vdi), &st); err != nil || st.Size != want || size != want || st.Blocks > 16 {
			t.Errorf("%d bytes asked for: %d, the file has %d in %d blocks, %v", asked, size, st.Size, st.Blocks, err)
		}
	}
	for _, size := range []int64{0, -1, 3 << 40} {
		s.refuses([]string{"SR_BACKEND_FAILURE_79"}, "VDI.create", s.vdiRecord("x", size))
	}
}

func TestRepositoryIsFull(t *testing.T) {
	s := start(t, xapi.Config{SRs: []xapi.SR{{Name: xapi.DefaultSR, SizeBytes: 10 * mib}}})
	disk := s.vdi("a", 4*mib)
	s.refuses([]string{"SR_FULL", strconv.Itoa(8 * mib), strconv.Itoa(6 * mib)}, "VDI.create", s.vdiRecord("b", 8*mib))
	s.Fill(xapi.DefaultSR, 2*mib)
	s.refuses([]string{"SR_FULL"}, "VDI.clone", disk, object{})
	s.refuses([]string{"SR_FULL"}, "VDI.resize", disk, 8*mib)
	vm := s.vm("x")
	s.vbd(vm, disk, "0")
	s.refuses([]string{"SR_FULL"}, "VM.clone", vm, "copy")
	if len(s.VDIs()) != 1 {
		t.Errorf("half a clone stays: %v", s.VDIs())
	}
	s.Fill(xapi.DefaultSR, 6*mib)
	s.must(nil, "VM.clone", vm, "copy")
}

func TestDevices(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, disk := s.machine("x")
	s.refuses([]string{"DEVICE_ALREADY_EXISTS", "0"}, "VBD.create", vbdRecord(vm, s.vdi("b", mib), "0"))
	second := s.vbd(vm, s.vdi("c", mib), "autodetect")
	if got := s.ref("VBD.get_userdevice", second); got != "1" {
		t.Errorf("device %s", got)
	}
	if free := s.refs("VM.get_allowed_VBD_devices", vm); free[0] != "2" || len(free) != 253 {
		t.Errorf("free: %v", free)
	}
	for _, bad := range []string{"-1", "255", "x", "", "01"} {
		s.refuses([]string{"INVALID_DEVICE", bad}, "VBD.create", vbdRecord(vm, disk, bad))
	}
	for code, change := range map[string]func(object){
		"VBD_CDS_MUST_BE_READONLY": func(r object) { r["type"] = "CD" },
		"VBD_NOT_REMOVABLE_MEDIA":  func(r object) { r["empty"], r["VDI"] = true, "OpaqueRef:NULL" },
		"HANDLE_INVALID":           func(r object) { r["VDI"] = "OpaqueRef:NULL" },
		"NOT_IMPLEMENTED":          func(r object) { r["type"] = "Floppy" },
	} {
		rec := vbdRecord(vm, disk, "5")
		change(rec)
		s.refuses([]string{code}, "VBD.create", rec)
	}
	s.must(nil, "VDI.set_read_only", disk, true)
	s.refuses([]string{"VDI_READONLY", disk}, "VBD.create", vbdRecord(vm, disk, "5"))
	s.must(nil, "VBD.set_mode", second, "RO")
	s.must(nil, "VDI.set_read_only", disk, false)
	s.refuses([]string{"DISK_VBD_MUST_BE_READWRITE_FOR_HVM", second}, "VM.start", vm, false, false)
	s.must(nil, "VBD.destroy", second)
	s.must(nil, "VM.start", vm, false, false)
	if got := s.ref("VBD.get_device", s.refs("VM.get_VBDs", vm)[0]); got != "xvda" {
		t.Errorf("the first device is %q", got)
	}
}

func TestHotplug(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	vm, _ := s.machine("ce")
	disk := s.vdi("out", 4*mib)
	vbd := s.vbd(vm, disk, "17")
	s.refuses([]string{"VM_BAD_POWER_STATE", vm, "running", "halted"}, "VBD.plug", vbd)
	s.must(nil, "VBD.destroy", vbd)
	s.must(nil, "VM.start", vm, false, false)
	vbd = s.vbd(vm, disk, "17")
	s.refuses([]string{"DEVICE_ALREADY_DETACHED", vbd}, "VBD.unplug", vbd)
	s.must(nil, "VBD.plug", vbd)
	s.refuses([]string{"DEVICE_ALREADY_ATTACHED", vbd}, "VBD.plug", vbd)
	if got, _ := g.vm("ce"); len(got.Disks) != 2 || got.Disks[1].Selector != platforms.ByXen(1<<28|17<<8) || got.Disks[1].File != s.file(disk) {
		t.Errorf("%+v", got.Disks)
	}
	s.refuses([]string{"OPERATION_NOT_ALLOWED"}, "VBD.destroy", vbd)
	s.refuses([]string{"VDI_IN_USE", disk, "destroy"}, "VDI.destroy", disk)
	s.refuses([]string{"VDI_IN_USE", disk, "copy"}, "VDI.copy", disk, s.sr(xapi.SharedSR), "OpaqueRef:NULL", "OpaqueRef:NULL")
	s.refuses([]string{"VDI_IN_USE", disk, "resize"}, "VDI.resize", disk, 8*mib)

	other, _ := s.machine("other")
	s.must(nil, "VM.start", other, false, false)
	stolen := s.vbd(other, disk, "1")
	s.refuses([]string{"VDI_IN_USE", disk}, "VBD.plug", stolen)

	g.failing("detach", errors.New("busy"))
	s.refuses([]string{"DEVICE_DETACH_REJECTED", "VBD", vbd, "busy"}, "VBD.unplug", vbd)
	g.failing("detach", nil)
	s.must(nil, "VBD.unplug", vbd)
	s.must(nil, "VBD.plug", stolen)
	s.must(nil, "VBD.unplug_force", stolen)
	g.failing("attach", errors.New("no"))
	s.refuses([]string{"DEVICE_ATTACH_TIMEOUT", "VBD", vbd}, "VBD.plug", vbd)
	if s.call(nil, "VBD.destroy", vbd) != nil {
		t.Error("it is attached, although the guest has not taken it")
	}
	s.must(nil, "VM.hard_shutdown", vm)
	s.must(nil, "VDI.set_name_label", disk, "kept")
	if log := g.said(); !slices.Equal(log, []string{"on ce", "attach ce", "on other", "detach ce", "attach other", "detach other", "off ce"}) {
		t.Error(log)
	}
	// The devices of a disk go with it.
	s.must(nil, "VDI.destroy", disk)
	if n := len(s.refs("VM.get_VBDs", other)); n != 1 {
		t.Errorf("%d devices", n)
	}
}

// The plug is pulled while a disk is added.
func TestShutdownDuringPlug(t *testing.T) {
	s := start(t, xapi.Config{Guests: newGuests()})
	vm, _ := s.machine("ce")
	vbd := s.vbd(vm, s.vdi("out", mib), "1")
	s.must(nil, "VBD.destroy", vbd)
	s.must(nil, "VM.start", vm, false, false)
	vbd = s.vbd(vm, s.vdi("out2", mib), "1")
	s.Delay("VBD.plug", 200*time.Millisecond)
	task := s.ref("Async.VBD.plug", vbd)
	s.must(nil, "VM.hard_shutdown", vm)
	if got := s.await(task); got.Status != "failure" || got.Error[0] != "VM_BAD_POWER_STATE" {
		t.Errorf("%+v", got)
	}
	s.must(nil, "VBD.destroy", vbd)
}

func TestGuestWithoutDrivers(t *testing.T) {
	s := start(t, xapi.Config{DriversAfter: 100 * time.Millisecond})
	vm, _ := s.machine("ce")
	disk := s.vdi("out", mib)
	s.must(nil, "VM.start", vm, false, false)
	vbd := s.vbd(vm, disk, "1")
	s.refuses([]string{"VM_MISSING_PV_DRIVERS", vm}, "VBD.plug", vbd)
	for end := time.Now().Add(10 * time.Second); s.call(nil, "VBD.plug", vbd) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its drivers do not come")
		}
	}
}

func TestCopiesOfDisks(t *testing.T) {
	s := start(t, xapi.Config{})
	disk := s.vdi("a", 64*mib)
	s.write(disk, pattern(100000), 33*mib)
	clone := s.ref("VDI.clone", disk, object{})
	moved := s.ref("VDI.copy", disk, s.sr(xapi.SharedSR), "OpaqueRef:NULL", "OpaqueRef:NULL")
	for _, c := range []string{clone, moved} {
		var st unix.Stat_t
		if !bytes.Equal(s.read(c), s.read(disk)) {
			t.Error("another content")
		}
		if err := unix.Stat(s.file(c), &st); err != nil || st.Blocks*512 > mib {
			t.Errorf("%d blocks, %v", st.Blocks, err)
		}
	}
	if refs := s.refs("VDI.get_by_name_label", "a"); len(refs) != 3 {
		t.Errorf("%d of that name", len(refs))
	}
	for _, v := range s.VDIs() {
		if v.OtherConfig["mark"] != "a" || v.SizeBytes != 64*mib || v.Attached || (v.SR == xapi.SharedSR) != (v.Ref == moved) {
			t.Errorf("%+v", v)
		}
	}
	s.refuses([]string{"HANDLE_INVALID", "SR"}, "VDI.copy", disk, "OpaqueRef:NULL", "OpaqueRef:NULL", "OpaqueRef:NULL")
	s.must(nil, "VDI.resize", disk, 70*mib)
	if n := len(s.read(disk)); n != 70*mib {
		t.Errorf("%d bytes", n)
	}
	s.refuses([]string{"SR_BACKEND_FAILURE_79"}, "VDI.resize", disk, mib)

	vm := s.vm("x")
	s.vbd(vm, disk, "0")
	s.must(nil, "VM.start", vm, false, false)
	s.must(nil, "VDI.clone", disk, object{}) // also while it is in use
	s.must(nil, "VM.hard_shutdown", vm)
	copied := s.ref("VM.copy", vm, "y", s.sr(xapi.SharedSR))
	for _, v := range s.VDIs() {
		if slices.Contains(v.VMs, copied) && v.SR != xapi.SharedSR {
			t.Errorf("%+v", v)
		}
	}
}

func TestCopyIntoDisk(t *testing.T) {
	s := start(t, xapi.Config{})
	from, to := s.vdi("from", 4*mib), s.vdi("to", 6*mib)
	s.write(from, pattern(1000), 2*mib)
	s.write(to, pattern(6*mib), 0)
	into := func(from, to string) []any { return []any{from, "OpaqueRef:NULL", "OpaqueRef:NULL", to} }
	if got := s.ref("VDI.copy", into(from, to)...); got != to {
		t.Errorf("the copy is %s", got)
	}
	if b := s.read(to); !bytes.Equal(b[:4*mib], s.read(from)) || !bytes.Equal(b[4*mib:], pattern(6 * mib)[4*mib:]) {
		t.Error("another content")
	}
	if s.ref("VDI.get_name_label", to) != "to" {
		t.Error("it has lost its name")
	}
	s.refuses([]string{"VDI_TOO_SMALL", from}, "VDI.copy", into(to, from)...)
	s.refuses([]string{"NOT_IMPLEMENTED"}, "VDI.copy", from, "OpaqueRef:NULL", to, "OpaqueRef:NULL")
	s.refuses([]string{"HANDLE_INVALID", "VDI"}, "VDI.copy", into(from, "OpaqueRef:none")...)
	s.must(nil, "VDI.set_read_only", to, true)
	s.refuses([]string{"VDI_READONLY", to}, "VDI.copy", into(from, to)...)
	s.must(nil, "VDI.set_read_only", to, false)
	vm := s.vm("x")
	s.vbd(vm, to, "0")
	s.must(nil, "VM.start", vm, false, false)
	s.refuses([]string{"VDI_IN_USE", to}, "VDI.copy", into(from, to)...)
}

func TestDevicesThatCannotBePlugged(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, _ := s.machine("x")
	shared := s.vdi("shared", mib)
	s.must(nil, "VDI.set_sharable", shared, true)
	fixed := vbdRecord(vm, shared, "1")
	fixed["unpluggable"] = false
	s.ref("VBD.create", fixed)
	s.must(nil, "VM.start", vm, false, false)
	s.refuses([]string{"VBD_NOT_UNPLUGGABLE"}, "VBD.unplug", s.refs("VDI.get_VBDs", shared)[0])

	other, _ := s.machine("y")
	s.vbd(other, shared, "1")
	s.must(nil, "VM.start", other, false, false) // both have it

	cd := vbdRecord(vm, "OpaqueRef:NULL", "3")
	cd["type"], cd["mode"], cd["empty"] = "CD", "RO", true
	drive := s.ref("VBD.create", cd)
	s.refuses([]string{"OPERATION_NOT_ALLOWED"}, "VBD.plug", drive)
	s.refuses([]string{"VM_BAD_POWER_STATE"}, "VBD.set_mode", drive, "RO")
	s.must(nil, "VM.hard_shutdown", vm)
	copied := s.ref("VM.clone", vm, "copy")
	if n := len(s.refs("VM.get_VBDs", copied)); n != 3 {
		t.Errorf("%d devices", n)
	}
	s.must(nil, "VM.start", vm, false, false)

	disk := s.vdi("late", mib)
	late := s.vbd(vm, disk, "29")
	s.Delay("VBD.plug", 200*time.Millisecond)
	task := s.ref("Async.VBD.plug", late)
	for len(s.Records("VBD")[late]["current_operations"].(map[string]any)) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.refuses([]string{"OTHER_OPERATION_IN_PROGRESS", "VBD", late, "plug"}, "VBD.plug", late)
	s.refuses([]string{"OTHER_OPERATION_IN_PROGRESS", "VDI", disk, "plug"}, "VDI.destroy", disk)
	if got := s.await(task); got.Status != "success" {
		t.Errorf("%+v", got)
	}
	if got := s.ref("VBD.get_device", late); got != "xvdad" {
		t.Errorf("it is %s", got)
	}
	s.must(nil, "SR.scan", s.sr(xapi.DefaultSR))
}
