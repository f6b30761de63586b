package vcenter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
	"imageport/lab/vcenter"
)

func TestGuests(t *testing.T) {
	g := &ward{fail: map[string]error{}}
	s := start(t, vcenter.Config{Guests: g})
	ctx := t.Context()
	vm := s.createVM("ce")
	boot := s.addDisk(vm, "[LocalDS_0] ce/boot.vmdk", mib)
	if g.told() != "" {
		t.Errorf("while it is off: %s", g.told())
	}
	s.must(vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: media.GuestInfo, Value: media.Base64([]byte("new"))}}}))
	s.must(vm.PowerOn(ctx))
	vmSeen := g.last
	if vmSeen.Name != "ce" || vmSeen.Firmware != guest.UEFI || vmSeen.CPUs != 2 || vmSeen.MemoryMB != 512 ||
		string(vmSeen.Seed) != "new" || vmSeen.UUID != vm.UUID(ctx) || len(vmSeen.Disks) != 1 {
		t.Errorf("it starts from %+v", vmSeen)
	}
	if d := vmSeen.Disks[0]; d.Selector != "serial:"+strings.ReplaceAll(backing(boot).Uuid, "-", "") || d.SizeBytes != mib ||
		d.File != s.path("[LocalDS_0] ce/boot-flat.vmdk") || d.Name != "[LocalDS_0] ce/boot.vmdk" {
		t.Errorf("with disk %+v", d)
	}

	data := s.addDisk(vm, "[LocalDS_0] ce/data.vmdk", 4*mib)
	if g.disk.Selector != "serial:"+strings.ReplaceAll(backing(data).Uuid, "-", "") || g.disk.SizeBytes != 4*mib {
		t.Errorf("hot added: %+v", g.disk)
	}
	s.must(vm.Reconfigure(ctx, change(remove, "", data)))
	_, err := await(vm.PowerOn(ctx))
	refused(t, err, &types.InvalidPowerState{})
	s.must(vm.PowerOff(ctx))
	_, err = await(vm.PowerOff(ctx))
	refused(t, err, &types.InvalidPowerState{})
	s.must(vm.PowerOn(ctx))
	s.must(vm.Reset(ctx))
	want := "on ce, attach ce [LocalDS_0] ce/data.vmdk, detach ce [LocalDS_0] ce/data.vmdk, off ce, on ce, off ce, on ce"
	if g.told() != want {
		t.Errorf("told %s\nwant %s", g.told(), want)
	}
	refused(t, vm.ShutdownGuest(ctx), &types.ToolsUnavailable{})
	_, err = await(vm.Suspend(ctx))
	refused(t, err, &types.NotSupported{})
}

func TestGuestsThatFail(t *testing.T) {
	g := &ward{fail: map[string]error{"on": errors.New("no such machine")}}
	s := start(t, vcenter.Config{Guests: g})
	ctx := t.Context()
	vm := s.createVM("ce")
	_, err := await(vm.PowerOn(ctx))
	refused(t, err, &types.GenericVmConfigFault{})
	if got := s.state(vm); got != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("it is %s", got)
	}
	g.fail = map[string]error{"attach": errors.New("no slot")}
	s.must(vm.PowerOn(ctx))
	_, err = await(vm.Reconfigure(ctx, change(add, create, s.diskSpec(vm, "[LocalDS_0] ce/x.vmdk", mib))))
	refused(t, err, &types.GenericVmConfigFault{})
	if left := append(s.files("x.vmdk"), s.files("x-flat")...); len(left) != 0 || len(s.disks(vm)) != 0 {
		t.Errorf("left: %v, attached: %v", left, s.disks(vm))
	}

	g.fail = map[string]error{"detach": errors.New("busy")}
	d := s.addDisk(vm, "[LocalDS_0] ce/x.vmdk", mib)
	_, err = await(vm.Reconfigure(ctx, change(remove, erase, d)))
	refused(t, err, &types.GenericVmConfigFault{})
	if len(s.disks(vm)) != 1 || len(s.files("x.vmdk")) != 1 {
		t.Error("the disk that the guest did not let go of is not attached")
	}
	_, err = await(object.NewVirtualDiskManager(s.client.Client).DeleteVirtualDisk(ctx, "[LocalDS_0] ce/x.vmdk", s.dc))
	refused(t, err, &types.FileLocked{})
}

// What a guest could not read fails the power-on, and is not told to everybody.
func TestSeedThatIsNoBase64(t *testing.T) {
	g := &ward{}
	s := start(t, vcenter.Config{Guests: g})
	ctx := t.Context()
	vm := s.createVM("ce")
	s.must(vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: media.GuestInfo, Value: "t0ken!"}}}))
	_, err := await(vm.PowerOn(ctx))
	refused(t, err, &types.GenericVmConfigFault{})
	var f *types.GenericVmConfigFault
	if _, ok := fault.As(err, &f); !ok || !strings.Contains(f.Reason, "not in base64") || strings.Contains(f.Reason, "t0ken") {
		t.Errorf("it says %+v", f)
	}
	if got := s.state(vm); got != types.VirtualMachinePowerStatePoweredOff || g.told() != "" {
		t.Errorf("it is %s, told %q", got, g.told())
	}
}

func TestGuestEnded(t *testing.T) {
	g := &ward{}
	s := start(t, vcenter.Config{Guests: g})
	ctx := t.Context()
	vm := s.createVM("ce")
	d := s.addDisk(vm, "[LocalDS_0] ce/x.vmdk", mib)
	s.must(vm.PowerOn(ctx))
	s.GuestEnded("other")
	if got := s.state(vm); got != types.VirtualMachinePowerStatePoweredOn {
		t.Errorf("it is %s", got)
	}
	s.GuestEnded("ce")
	if got := s.state(vm); got != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("it is %s", got)
	}
	s.GuestEnded("ce")
	if g.told() != "on ce" {
		t.Errorf("told %s", g.told())
	}
	s.must(object.NewVirtualDiskManager(s.client.Client).MoveVirtualDisk(ctx, backing(d).FileName, s.dc, "[LocalDS_0] y.vmdk", s.dc, false))
}

// Plain vcsim does not answer questions about a VM while a task on it runs.
func TestVMIsReadWhileItStarts(t *testing.T) {
	g := &ward{slow: time.Second}
	s := start(t, vcenter.Config{Guests: g})
	vm := s.createVM("ce")
	started, err := vm.PowerOn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if got := s.state(vm); got != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("it is %s before its guest runs", got)
	}
	if took := time.Since(before); took > 500*time.Millisecond {
		t.Errorf("reading took %v", took)
	}
	var m mo.Task
	if err := started.Properties(t.Context(), started.Reference(), []string{"info"}, &m); err != nil {
		t.Fatal(err)
	}
	if m.Info.Entity == nil || *m.Info.Entity != vm.Reference() || m.Info.Name != "PowerOnVM_Task" || m.Info.State != types.TaskInfoStateRunning {
		t.Errorf("its task: %+v", m.Info)
	}
	var e mo.VirtualMachine
	if err := vm.Properties(t.Context(), vm.Reference(), []string{"recentTask"}, &e); err != nil {
		t.Fatal(err)
	}
	if n := len(e.RecentTask); n == 0 || e.RecentTask[n-1] != started.Reference() {
		t.Errorf("its last tasks: %v, not %s", e.RecentTask, started.Reference())
	}
	s.must(started, nil)
}

func TestCloseSwitchesOff(t *testing.T) {
	g := &ward{}
	s := start(t, vcenter.Config{Guests: g})
	s.must(s.createVM("a").PowerOn(t.Context()))
	s.must(s.createVM("b").PowerOn(t.Context()))
	s.Close()
	if g.told() != "on a, on b, off a, off b" {
		t.Errorf("told %s", g.told())
	}
}

func TestPowerOnOfMany(t *testing.T) {
	g := &ward{}
	s := start(t, vcenter.Config{Guests: g})
	vm := s.createVM("ce")
	result := s.must(s.dc.PowerOnVM(t.Context(), []types.ManagedObjectReference{vm.Reference()})).(types.ClusterPowerOnVmResult)
	if len(result.Attempted) != 1 {
		t.Fatalf("%+v", result)
	}
	s.must(object.NewTask(s.client.Client, *result.Attempted[0].Task), nil)
	if g.told() != "on ce" {
		t.Errorf("told %s", g.told())
	}
}

func TestDestroy(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	vm := s.createVM("ce")
	s.mkdir("[LocalDS_0] images")
	s.addDisk(vm, "[LocalDS_0] ce/boot.vmdk", mib)
	s.addDisk(vm, "[LocalDS_0] images/attached.vmdk", mib)
	kept := s.addDisk(vm, "[LocalDS_0] images/kept.vmdk", mib)
	s.must(vm.Reconfigure(ctx, change(remove, "", kept)))
	s.must(vm.PowerOn(ctx))
	_, err := await(vm.Destroy(ctx))
	refused(t, err, &types.InvalidPowerState{})
	if len(s.files("attached")) != 2 || len(s.files("ce/")) == 0 {
		t.Error("a running VM has lost files")
	}
	s.must(vm.PowerOff(ctx))
	s.must(vm.Destroy(ctx))
	files := s.files("")
	if strings.Join(files, ", ") != "[LocalDS_0] images/kept-flat.vmdk, [LocalDS_0] images/kept.vmdk" {
		t.Errorf("left: %v", files)
	}
	_, err = await(vm.Destroy(ctx))
	refused(t, err, &types.ManagedObjectNotFound{})
	s.createVM("ce") // its name and its directory are free
	if n := len(s.files("ce/")); n == 0 {
		t.Error("the new VM has no files")
	}
}

// Plain vcsim makes two VMs of one name by CreateVM_Task and by imports.
func TestNamesAreUnique(t *testing.T) {
	s := start(t, vcenter.Config{})
	template := s.createVM("template")
	const creators = 6
	results := make([]error, creators)
	var wg sync.WaitGroup
	for i := range creators {
		c, err := connect(t, s.VCenter, s.Username(), s.Password())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if i%2 == 0 {
				folder := object.NewFolder(c.Client, s.folder.Reference())
				_, results[i] = await(folder.CreateVM(t.Context(), s.vmSpec("ce"), s.pool, nil))
				return
			}
			vm := object.NewVirtualMachine(c.Client, template.Reference())
			_, results[i] = await(vm.Clone(t.Context(), s.folder, "ce", s.cloneSpec()))
		})
	}
	wg.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
			continue
		}
		refused(t, err, &types.DuplicateName{})
	}
	if made != 1 {
		t.Errorf("%d of %d made a VM: %v", made, creators, results)
	}
	for _, f := range s.files("ce") {
		if strings.Contains(f, "(") {
			t.Errorf("a second directory: %s", f)
		}
	}
}

func TestVMsThatCannotBeMade(t *testing.T) {
	s := start(t, vcenter.Config{})
	network := func(spec *types.VirtualMachineConfigSpec) {
		card := spec.DeviceChange[1].GetVirtualDeviceConfigSpec().Device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
		card.Backing.(*types.VirtualEthernetCardNetworkBackingInfo).DeviceName = "Other"
	}
	disk := func(name string) func(*types.VirtualMachineConfigSpec) {
		return func(spec *types.VirtualMachineConfigSpec) {
			spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
				Operation: add,
				Device: &types.VirtualDisk{
					VirtualDevice: types.VirtualDevice{
						Key: -7, ControllerKey: spec.DeviceChange[0].GetVirtualDeviceConfigSpec().Device.GetVirtualDevice().Key, UnitNumber: new(int32),
						Backing: &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: name}, DiskMode: "persistent"},
					},
				},
			})
		}
	}
	for name, c := range map[string]struct {
		edit func(*types.VirtualMachineConfigSpec)
		want types.BaseMethodFault
	}{
		"datastore": {func(c *types.VirtualMachineConfigSpec) { c.Files.VmPathName = "[Other]" }, &types.InvalidDatastorePath{}},
		"no files":  {func(c *types.VirtualMachineConfigSpec) { c.Files = nil }, &types.InvalidVmConfig{}},
		"name":      {func(c *types.VirtualMachineConfigSpec) { c.Name = "../x" }, &types.InvalidName{}},
		"network":   {network, &types.InvalidDeviceBacking{}},
		"disk":      {disk("[LocalDS_0] none.vmdk"), &types.FileNotFound{}},
		"guest":     {func(c *types.VirtualMachineConfigSpec) { c.Version = "vmx-new" }, &types.NotSupported{}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.vmSpec("ce")
			c.edit(&spec)
			_, err := await(s.folder.CreateVM(t.Context(), spec, s.pool, nil))
			refused(t, err, c.want)
			if left := s.files(""); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
	s.createVM("ce")
}

func (s *site) cloneSpec() types.VirtualMachineCloneSpec {
	pool := s.pool.Reference()
	return types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &pool}}
}

// Plain vcsim clones the capacity of disks only.
func TestClone(t *testing.T) {
	g := &ward{}
	s := start(t, vcenter.Config{Guests: g, Datastores: 2})
	ctx := t.Context()
	template := s.createVM("template")
	source := s.addDisk(template, "[LocalDS_0] template/boot.vmdk", 4*mib)
	write(t, s.path("[LocalDS_0] template/boot-flat.vmdk"), mib, "the appliance")
	if err := template.MarkAsTemplate(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := await(template.Clone(ctx, s.folder, "x", types.VirtualMachineCloneSpec{}))
	refused(t, err, &types.InvalidArgument{}) // a template has no pool of its own

	spec := s.cloneSpec()
	var ds types.ManagedObjectReference
	for _, e := range s.Model().Map().All("Datastore") {
		if e.Entity().Name == "LocalDS_1" {
			ds = e.Reference()
		}
	}
	spec.Location.Datastore = &ds
	spec.PowerOn = true
	spec.Config = &types.VirtualMachineConfigSpec{
		NumCPUs:     4,
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo.job", Value: "j"}},
	}
	ref := s.must(template.Clone(ctx, s.folder, "ce", spec)).(types.ManagedObjectReference)
	vm := object.NewVirtualMachine(s.client.Client, ref)
	if g.told() != "on ce" {
		t.Errorf("told %s", g.told())
	}
	if string(g.last.Seed) != "abc" || g.last.Firmware != guest.UEFI || g.last.CPUs != 4 || g.last.MemoryMB != 512 {
		t.Errorf("it starts from %+v", g.last)
	}
	var of mo.VirtualMachine
	if err := vm.Properties(ctx, ref, []string{"config.extraConfig"}, &of); err != nil {
		t.Fatal(err)
	}
	if job, _ := object.OptionValueList(of.Config.ExtraConfig).GetString("guestinfo.job"); job != "j" {
		t.Errorf("its settings are %+v", of.Config.ExtraConfig)
	}
	disks := s.disks(vm)
	if len(disks) != 1 || backing(disks[0]).Uuid == backing(source).Uuid || !strings.HasPrefix(backing(disks[0]).FileName, "[LocalDS_1] ce/") {
		t.Fatalf("disks %+v", disks)
	}
	describes(t, s.path(backing(disks[0]).FileName), 4*mib, mib, "the appliance")
	cards := s.devices(vm).SelectByType((*types.VirtualEthernetCard)(nil))
	if len(cards) != 1 {
		t.Errorf("network cards: %v", cards)
	}
	_, err = await(vm.Clone(ctx, s.folder, "of a running one", s.cloneSpec()))
	refused(t, err, &types.NotSupported{})
}

// A clone that cannot be completed leaves nothing.
func TestCloneThatFails(t *testing.T) {
	g := &ward{fail: map[string]error{"on": errors.New("no")}}
	s := start(t, vcenter.Config{Guests: g})
	template := s.createVM("template")
	before := s.files("")
	spec := s.cloneSpec()
	spec.PowerOn = true
	_, err := await(template.Clone(t.Context(), s.folder, "ce", spec))
	refused(t, err, &types.GenericVmConfigFault{})
	if after := s.files(""); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("left: %v", after)
	}
}

func TestCancelledTaskIsDoneAllTheSame(t *testing.T) {
	s := start(t, vcenter.Config{})
	template := s.createVM("template")
	s.Delay("CloneVM_Task", 300*time.Millisecond)
	started, err := template.Clone(t.Context(), s.folder, "ce", s.cloneSpec())
	if err != nil {
		t.Fatal(err)
	}
	if err := started.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	var m mo.Task
	if err := started.Properties(t.Context(), started.Reference(), []string{"info"}, &m); err != nil {
		t.Fatal(err)
	}
	if m.Info.State != types.TaskInfoStateError || m.Info.Error == nil {
		t.Errorf("right after: %+v", m.Info)
	}
	if len(s.files("ce/")) != 0 {
		t.Error("it did not wait")
	}
	for deadline := time.Now().Add(10 * time.Second); len(s.files("ce/")) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the clone did not land")
		}
	}
}

// Many that do everything at once: neither deadlocks nor, with -race, races of
// ours.
func TestManyAtOnce(t *testing.T) {
	g := &ward{}
	s := start(t, vcenter.Config{Guests: g})
	template := s.createVM("template")
	s.addDisk(template, "[LocalDS_0] template/boot.vmdk", mib)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 4 {
		c, err := connect(t, s.VCenter, s.Username(), s.Password())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			name := fmt.Sprintf("ce-%d", i)
			for range 3 {
				if err := life(ctx, s, c.Client, template, name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	lister, err := connect(t, s.VCenter, s.Username(), s.Password())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	listed := make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				listed <- nil
				return
			default:
			}
			if err := list(ctx, lister.Client); err != nil {
				listed <- err
				return
			}
		}
	}()
	vmdk, raw := stream(t, mib)
	if _, err := s.importOVA("appliance", vmdk, len(raw)); err != nil {
		t.Error(err)
	}
	wg.Wait()
	close(done)
	if err := <-listed; err != nil {
		t.Errorf("listing: %v", err)
	}
	if left := s.files("ce-"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
