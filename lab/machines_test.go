package lab

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"encoding/hex"
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
	"imageport/lab/vcenter"
	"imageport/testkit/cevm"
)

// trialAppliance is the appliance's disk with the program in trial as its agent.
func trialAppliance(t *testing.T) vcenter.Disk {
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
	return vcenter.Disk{Serial: strings.Repeat("0", 32), Flat: raw, SizeBytes: info.SizeBytes, Datastore: "[LocalDS_0] ce/ce.vmdk"}
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
func disk(t *testing.T, number byte, begins string) vcenter.Disk {
	t.Helper()
	d := vcenter.Disk{
		Serial: hex.EncodeToString(bytes.Repeat([]byte{number}, 16)), SizeBytes: 2 << 20,
		Flat: filepath.Join(t.TempDir(), "x, y-flat.vmdk"), Datastore: "[LocalDS_0] x.vmdk",
	}
	if err := os.WriteFile(d.Flat, []byte(begins), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.Flat, d.SizeBytes); err != nil {
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
func at(t *testing.T, d vcenter.Disk, offset, n int64) string {
	t.Helper()
	b, err := os.ReadFile(d.Flat)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(b[offset:offset+n]), "\x00")
}

// The real appliance starts on a VM's hardware and knows the disks that its VM
// has, gets and loses by their serial numbers; what it writes is in their files.
func TestMachine(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	m, err := NewMachines(MachinesConfig{Dir: t.TempDir(), Ended: func(vm string) { ended <- vm }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	first, second, last := disk(t, 0xa1, "who is there?"), disk(t, 0xb2, "who is there?"), disk(t, 0xc3, "good night")
	vm := newVM("ce-0123456789ab", trialAppliance(t), first)
	if err := m.PowerOn(vm); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(vm); err == nil {
		t.Error("a VM has two guests")
	}
	said(t, m.host, vm.Name, `seed from=fw_cfg ce=ce-0123456789ab`)
	said(t, m.host, vm.Name, `disk serial=`+first.Serial+` bytes=2097152 begins="who is there\?"`)
	if err := m.Attach(vm.Name, second); err != nil {
		t.Fatal(err)
	}
	said(t, m.host, vm.Name, `disk serial=`+second.Serial)
	if err := m.Attach(vm.Name, second); err == nil {
		t.Error("a disk is attached twice")
	}
	for _, d := range []vcenter.Disk{second, first} {
		if err := m.Detach(vm.Name, d); err != nil {
			t.Fatal(err)
		}
		if got := at(t, d, 1<<20, 32); got != "a machine" {
			t.Errorf("disk %s has %q", d.Serial, got)
		}
		said(t, m.host, vm.Name, `disk gone serial=`+d.Serial)
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
	vm := newVM("ce-0123456789ab", disk(t, 1, ""))
	if err := m.PowerOn(vm); err == nil || !strings.Contains(err.Error(), "did not start") {
		t.Errorf("got %v", err)
	}
	if _, ok := m.guest(vm.Name); ok {
		t.Error("it has a guest")
	}
	if _, err := NewMachines(MachinesConfig{Dir: t.TempDir(), FirmwareCode: "none"}); err == nil {
		t.Error("a firmware that is not there is taken")
	}
}
