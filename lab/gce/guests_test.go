package gce_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"imageport/lab/gce"
	"imageport/lab/guest"
)

// guests notes what is asked of it.
type guests struct {
	mu    sync.Mutex
	calls []string
	vms   map[string]guest.VM
	fail  error
}

func (g *guests) note(format string, args ...any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, fmt.Sprintf(format, args...))
	return g.fail
}

func (g *guests) PowerOn(vm guest.VM) error {
	g.mu.Lock()
	if g.vms == nil {
		g.vms = make(map[string]guest.VM)
	}
	g.vms[vm.Name] = vm
	g.mu.Unlock()
	return g.note("on %s", vm.Name)
}
func (g *guests) PowerOff(vm string)                   { _ = g.note("off %s", vm) }
func (g *guests) Attach(vm string, d guest.Disk) error { return g.note("attach %s %s", vm, d.Selector) }
func (g *guests) Detach(vm string, d guest.Disk) error { return g.note("detach %s %s", vm, d.Selector) }

func (g *guests) set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = err
}

func (g *guests) log() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

// wantDisk checks that a file is a sparse disk of 1 GiB that begins like this.
func wantDisk(t *testing.T, file, begin string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(begin))
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != begin || stat.Size != 1<<30 || stat.Blocks*512 > 1<<20 {
		t.Errorf("it begins with %q, has %d bytes and %d of them on the medium: %v", b, stat.Size, stat.Blocks*512, err)
	}
}

// The life of an instance, and what its guest is told of it.
func TestGuests(t *testing.T) {
	g := &guests{}
	s := start(t, gce.Config{Guests: g}).withImage()
	s.want("insert", s.run("POST", at+"instances", instance("one")), "")
	vm := g.vms["one"]
	if vm.Firmware != guest.UEFI || vm.CPUs != 2 || vm.MemoryMB != 4096 || string(vm.Seed) != "the seed" || len(vm.UUID) != 36 || len(vm.Disks) != 1 || vm.Disks[0].Selector != "serial:boot" {
		t.Errorf("it starts from %+v", vm)
	}
	wantDisk(t, vm.Disks[0].File, "content\x00")
	s.want("disk", s.run("POST", at+"disks", disk("out", `,"sizeGb":"2"`)), "")
	s.want("attach", s.run("POST", at+"instances/one/attachDisk", attachment("out", "dev", true)), "")
	s.want("attach again", s.run("POST", at+"instances/one/attachDisk", attachment("out", "dev2", true)), "400 resourceInUseByAnotherResource")
	s.want("delete of an attached disk", s.run("DELETE", at+"disks/out", ""), "400 resourceInUseByAnotherResource")
	s.want("stop", s.run("POST", at+"instances/one/stop", ""), "")
	s.want("start", s.run("POST", at+"instances/one/start", ""), "")
	if disks := g.vms["one"].Disks; len(disks) != 2 || disks[1].Selector != "serial:dev" || disks[1].SizeBytes != 2<<30 || disks[1].Name != "out" {
		t.Errorf("it starts again with %+v", disks)
	}
	s.GuestEnded("other")
	s.GuestEnded("one")
	s.want("state", s.Instances()[0].GetStatus(), "TERMINATED")
	s.want("start", s.run("POST", at+"instances/one/start", ""), "")
	s.want("detach", s.run("POST", at+"instances/one/detachDisk?deviceName=dev", ""), "")
	s.want("detach again", s.run("POST", at+"instances/one/detachDisk?deviceName=dev", ""), "400 invalid")
	s.want("attach", s.run("POST", at+"instances/one/attachDisk", attachment("out", "dev", false)), "")
	s.want("delete", s.run("DELETE", at+"instances/one", ""), "")
	want := []string{"on one", "attach one serial:dev", "off one", "on one", "on one", "detach one serial:dev", "attach one serial:dev", "off one"}
	if got := g.log(); !slices.Equal(got, want) {
		t.Errorf("the guests were told %q", got)
	}
	if disks := s.Disks(); len(disks) != 1 || disks[0].GetName() != "out" || len(disks[0].Users) != 0 {
		t.Errorf("left are %v", disks)
	}
}

// Guests that cannot do what they are told fail the operation, and nothing changes.
func TestGuestsFail(t *testing.T) {
	g := &guests{}
	s := start(t, gce.Config{Guests: g}).withImage()
	g.set(errors.New("no"))
	s.want("insert", s.run("POST", at+"instances", instance("one")), "INTERNAL_ERROR")
	if len(s.Instances())+len(s.Disks()) > 0 {
		t.Errorf("left are %v, %v", s.Instances(), s.Disks())
	}
	g.set(nil)
	s.want("insert", s.run("POST", at+"instances", instance("one")), "")
	s.want("disk", s.run("POST", at+"disks", disk("out", `,"sizeGb":"1"`)), "")
	g.set(errors.New("no"))
	s.want("attach", s.run("POST", at+"instances/one/attachDisk", attachment("out", "dev", true)), "INTERNAL_ERROR")
	if n := len(s.Instances()[0].Disks); n != 1 || len(s.Disks()[1].Users) != 0 {
		t.Errorf("%d disks", n)
	}
	s.want("stop", s.run("POST", at+"instances/one/stop", ""), "")
	s.want("start", s.run("POST", at+"instances/one/start", ""), "INTERNAL_ERROR")
	s.want("state", s.Instances()[0].GetStatus(), "TERMINATED")
}
