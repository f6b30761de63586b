package vcenter_test

import (
	"fmt"
	"image/png"
	"net/http"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/lab/vcenter"
)

// existing is a disk that is there already, for the VM's SCSI controller.
func (s *site) existing(vm *object.VirtualMachine, name string) *types.VirtualDisk {
	s.t.Helper()
	disk := s.diskSpec(vm, name, 0)
	disk.CapacityInBytes, disk.CapacityInKB = 0, 0
	return disk
}

// Two VMs may have one disk, of which one at most may run.
func TestDiskOfTwoVMs(t *testing.T) {
	s := start(t, vcenter.Config{Guests: &ward{}})
	ctx := t.Context()
	first, second := s.createVM("ce"), s.createVM("ce-guest")
	const name = "[LocalDS_0] ce/work.vmdk"
	s.addDisk(first, name, mib)
	write(t, s.path("[LocalDS_0] ce/work-flat.vmdk"), 4096, "abc")
	s.must(second.Reconfigure(ctx, change(add, "", s.existing(second, name))))
	if d := s.disks(second); len(d) != 1 || d[0].CapacityInBytes != mib || backing(d[0]).Uuid != backing(s.disks(first)[0]).Uuid {
		t.Fatalf("the second VM has %+v", d)
	}
	for on, off := range map[*object.VirtualMachine]*object.VirtualMachine{first: second, second: first} {
		s.must(on.PowerOn(ctx))
		_, err := await(off.PowerOn(ctx))
		refused(t, err, &types.FileLocked{})
		s.must(on.PowerOff(ctx))
	}
	s.must(second.Reconfigure(ctx, change(remove, "", s.disks(second)[0])))
	s.must(second.Destroy(ctx))
	if got := readAt(t, s.path("[LocalDS_0] ce/work-flat.vmdk"), 4096, 3); got != "abc" {
		t.Errorf("the first VM's disk has %q", got)
	}
	if left := s.files("ce-guest"); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	s.must(first.PowerOn(ctx))

	// A VM that is removed takes along what it has attached, also if another has it.
	third := s.createVM("third")
	s.must(first.PowerOff(ctx))
	s.must(third.Reconfigure(ctx, change(add, "", s.existing(third, name))))
	s.must(third.Destroy(ctx))
	if left := s.files("work"); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	_, err := await(first.PowerOn(ctx))
	refused(t, err, &types.FileNotFound{})
}

func TestChangeVersion(t *testing.T) {
	s := start(t, vcenter.Config{})
	vm := s.createVM("vm")
	version := func() string {
		t.Helper()
		var m mo.VirtualMachine
		if err := vm.Properties(t.Context(), vm.Reference(), []string{"config"}, &m); err != nil {
			t.Fatal(err)
		}
		return m.Config.ChangeVersion
	}
	mark := func(version string) error {
		_, err := await(vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{
			ChangeVersion: version, ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "a", Value: "b"}},
		}))
		return err
	}
	first := version()
	if err := mark(first); err != nil {
		t.Fatal(err)
	}
	refused(t, mark(first), &types.ConcurrentAccess{})
	if err := mark(version()); err != nil {
		t.Error(err)
	}
	if err := mark(""); err != nil {
		t.Error(err)
	}
}

func TestScreenshot(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	vm := s.createVM("vm")
	shoot := func() (string, error) {
		res, err := methods.CreateScreenshot_Task(ctx, s.client.Client, &types.CreateScreenshot_Task{This: vm.Reference()})
		if err != nil {
			return "", err
		}
		name, err := await(object.NewTask(s.client.Client, res.Returnval), nil)
		if err != nil {
			return "", err
		}
		return name.(string), nil
	}
	_, err := shoot()
	refused(t, err, &types.InvalidPowerState{})
	s.must(vm.PowerOn(ctx))
	for n := 1; n < 3; n++ {
		name, err := shoot()
		if want := fmt.Sprintf("[LocalDS_0] vm/vm-%d.png", n); err != nil || name != want {
			t.Fatalf("the picture is %s, %v; want %s", name, err, want)
		}
	}
	u := object.NewDatastoreURL(*s.client.URL(), "/DC0", "LocalDS_0", "vm/vm-1.png")
	get := func(c *soap.Client) (*http.Response, error) {
		return c.DownloadRequest(ctx, u, &soap.DefaultDownload)
	}
	res, err := get(s.client.Client.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if picture, err := png.Decode(res.Body); err != nil || picture.Bounds().Dx() != 720 {
		t.Errorf("%s: %v, %v", res.Status, picture, err)
	}
	s.Revoke("Datastore.Browse")
	for want, c := range map[int]*soap.Client{
		http.StatusForbidden: s.client.Client.Client, http.StatusUnauthorized: s.stranger(),
	} {
		res, err := get(c)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s, want %d", res.Status, want)
		}
	}
	s.Revoke("VirtualMachine.Interact.CreateScreenshot")
	_, err = shoot()
	refused(t, err, &types.NoPermission{})
	s.must(object.NewFileManager(s.client.Client).DeleteDatastoreFile(ctx, "[LocalDS_0] vm/vm-2.png", s.dc))
	s.must(vm.PowerOff(ctx))
	s.must(vm.Destroy(ctx))
	if left := s.files(""); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// stranger is a client that has not logged in.
func (s *site) stranger() *soap.Client {
	c := soap.NewClient(s.client.URL(), false)
	c.DefaultTransport().TLSClientConfig = s.client.DefaultTransport().TLSClientConfig.Clone()
	return c
}
