package lab

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/appliance/export"
	"imageport/appliance/uki"
	"imageport/lab/guest"
	"imageport/testkit/cevm"
)

// trialAppliance is the appliance's disk with the program in trial as its agent.
func trialAppliance(t *testing.T) guest.Disk {
	t.Helper()
	dir := t.TempDir()
	program, raw := filepath.Join(dir, "trial"), filepath.Join(dir, "raw")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./trial")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	image := cevm.Appliance(t)
	initrd, err := os.ReadFile(image.WithAgent(t, program).Initrd)
	if err != nil {
		t.Fatal(err)
	}
	b := replaceInitrd(t, image.UKI, initrd)
	loaded, err := export.Load(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	info, err := export.WriteFile(t.Context(), raw, export.Raw, loaded, export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return guest.Disk{Selector: "serial:" + strings.Repeat("0", 32), File: raw, SizeBytes: info.SizeBytes, Name: "[LocalDS_0] ce/ce.vmdk"}
}

// replaceInitrd builds the UKI anew, with another initial RAM file system.
func replaceInitrd(t *testing.T, path string, initrd []byte) []byte {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	first := slices.IndexFunc(f.Sections, func(s *pe.Section) bool { return s.Name == ".osrel" })
	var sections []uki.Section
	for _, s := range f.Sections[first:] {
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		data = data[:min(int(s.VirtualSize), len(data))] // the rest is padding
		if s.Name == ".initrd" {
			data = initrd
		}
		sections = append(sections, uki.Section{Name: s.Name, Data: data})
	}
	// What there was before them is the stub.
	stub := whole[:f.Sections[first].Offset]
	coff := binary.LittleEndian.Uint32(stub[0x3c:]) + 4
	binary.LittleEndian.PutUint16(stub[coff+2:], uint16(first))
	b, err := uki.Build(stub, sections)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// disk makes a disk that begins with some words.
func disk(t *testing.T, selector, begins string) guest.Disk {
	t.Helper()
	d := guest.Disk{
		Selector: selector, SizeBytes: 2 << 20,
		File: filepath.Join(t.TempDir(), "x, y-flat.vmdk"), Name: "[LocalDS_0] x.vmdk",
	}
	if err := os.WriteFile(d.File, []byte(begins), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.File, d.SizeBytes); err != nil {
		t.Fatal(err)
	}
	return d
}

// said waits until the log of a guest has a match.
func said(t *testing.T, h *host, vm, pattern string) {
	t.Helper()
	var log []byte
	await(t, "said: "+pattern, func() bool {
		log, _ = os.ReadFile(h.logFile(vm))
		return regexp.MustCompile(pattern).Match(log)
	}, func() string { return string(log) })
}

func await(t *testing.T, what string, ok func() bool, detail func() string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s:\n%s", what, detail())
		}
	}
}

// at is what a disk's file has at an offset.
func at(t *testing.T, d guest.Disk, offset, n int64) string {
	t.Helper()
	b, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(b[offset:offset+n]), "\x00")
}

// The real appliance starts on a VM's hardware and knows the disks that its VM
// has, gets and loses by their serial numbers or LUNs; what it writes is in their
// files.
func TestMachine(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	m, err := NewMachines(MachinesConfig{Dir: t.TempDir(), Ended: func(vm string) { ended <- vm }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	const firstIs, secondIs, thirdIs = "6000c290a1a1a1a1a1a1a1a1a1a1a1a1", "6000c290b2b2b2b2b2b2b2b2b2b2b2b2", "LUN 3"
	const asks = "who is there?"
	first, second, third := disk(t, "serial:"+firstIs, asks), disk(t, "serial:"+secondIs, asks), disk(t, "lun:3", asks)
	last := disk(t, "lun:0", "good night")
	vm := newVM("ce-0123456789ab", trialAppliance(t), first)
	if err := m.PowerOn(vm); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(vm); err == nil {
		t.Error("a VM has two guests")
	}
	said(t, m.host, vm.Name, `seed from=fw_cfg ce=ce-0123456789ab`)
	said(t, m.host, vm.Name, `disk is=.*`+firstIs+`.* bytes=2097152 begins="who is there\?"`)
	for is, d := range map[string]guest.Disk{secondIs: second, thirdIs: third} {
		if err := m.Attach(vm.Name, d); err != nil {
			t.Fatal(err)
		}
		said(t, m.host, vm.Name, `disk is=.*`+is)
		if err := m.Attach(vm.Name, d); err == nil {
			t.Error("a disk is attached twice")
		}
	}
	if err := m.Attach(vm.Name, disk(t, "xen:51728", "")); err == nil || !strings.Contains(err.Error(), "no Xen devices") {
		t.Errorf("got %v", err)
	}
	for is, d := range map[string]guest.Disk{thirdIs: third, secondIs: second, firstIs: first} {
		if err := m.Detach(vm.Name, d); err != nil {
			t.Fatal(err)
		}
		if got := at(t, d, 1<<20, 32); got != "a machine" {
			t.Errorf("disk %s has %q", d.Selector, got)
		}
		said(t, m.host, vm.Name, `disk gone is=.*`+is)
	}
	if err := m.Detach(vm.Name, second); err == nil {
		t.Error("a disk is detached twice")
	}
	if err := m.Attach(vm.Name, last); err != nil {
		t.Fatal(err)
	}
	select {
	case name := <-ended:
		if name != vm.Name {
			t.Errorf("%q has ended", name)
		}
	case <-time.After(time.Minute):
		t.Error("the machine does not end")
	}
	m.PowerOff(vm.Name)
	if _, err := os.Stat(filepath.Join(m.dir, vm.Name)); err == nil {
		t.Error("the machine's files are left")
	}
}

// A QEMU that does not start is the failure of the task, with what it said.
func TestMachineDoesNotStart(t *testing.T) {
	t.Parallel()
	m, err := NewMachines(MachinesConfig{Dir: t.TempDir(), Program: "false"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(newVM("ce-0123456789ab")); err == nil || !strings.Contains(err.Error(), "no disk to start from") {
		t.Errorf("got %v", err)
	}
	for selector, says := range map[string]string{"serial:out-1": "did not start", "xen:51712": "no Xen devices"} {
		vm := newVM("ce-0123456789ab", disk(t, selector, ""))
		if err := m.PowerOn(vm); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", selector, err)
		}
		if _, ok := m.runs(vm.Name); ok {
			t.Error("it has a guest")
		}
	}
	if _, err := NewMachines(MachinesConfig{Dir: t.TempDir(), FirmwareCode: "none"}); err == nil {
		t.Error("a firmware that is not there is taken")
	}
}

// A disk is on the controller where the guest finds it, and only what it has to
// find it by is told.
func TestDevice(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		selector string
		boots    bool
		want     string
	}{
		{"serial:out-1", false, `{"bus":"scsi.0","serial":"out-1"}`},
		{"serial:out-1", true, `{"bootindex":1,"bus":"boot.0","serial":"out-1"}`},
		{"lun:3", false, `{"bus":"boot.0","lun":3,"scsi-id":1}`},
		{"", true, `{"bootindex":1,"bus":"boot.0"}`},
	} {
		x := device(guest.Disk{Selector: of.selector, File: "/x"}, of.boots)
		for _, common := range []string{"driver", "id", "drive", "werror", "rerror"} {
			if x[common] == nil {
				t.Errorf("%s: no %s", of.selector, common)
			}
			delete(x, common)
		}
		if got, err := json.Marshal(x); err != nil || string(got) != of.want {
			t.Errorf("%s: got %s, %v, want %s", of.selector, got, err, of.want)
		}
	}
}
