package vcenter_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/lab/vcenter"
)

// describes wants a descriptor that qemu-img reads as a disk of that size, with
// the text at the place.
func describes(t *testing.T, path string, sizeBytes int64, at int64, text string) {
	t.Helper()
	info := qemuImg(t, "info", "-f", "vmdk", path)
	size := regexp.MustCompile(`virtual size: .*\((\d+) bytes\)`).FindStringSubmatch(info)
	if size == nil || size[1] != itoa(sizeBytes) {
		t.Errorf("qemu-img on %s, want %d bytes:\n%s", path, sizeBytes, info)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	qemuImg(t, "convert", "-f", "vmdk", "-O", "raw", path, raw)
	if got := readAt(t, raw, at, len(text)); got != text {
		t.Errorf("%s has %q at %d, want %q", path, got, at, text)
	}
}

// Plain vcsim leaves an empty flat file, no UUID in the descriptor, and one made
// from the name in the device.
func TestDiskMadeByAttaching(t *testing.T) {
	s := start(t, vcenter.Config{})
	vm := s.createVM("vm")
	name := "[LocalDS_0] images/x.vmdk"
	_, err := await(vm.Reconfigure(t.Context(), change(add, create, s.diskSpec(vm, name, 8*mib))))
	refused(t, err, &types.FileNotFound{}) // the directory
	s.mkdir("[LocalDS_0] images")

	d := s.addDisk(vm, name, 8*mib)
	if d.CapacityInBytes != 8*mib || d.CapacityInKB != 8<<10 {
		t.Errorf("capacity %d, %d KB", d.CapacityInBytes, d.CapacityInKB)
	}
	b := backing(d)
	if !regexp.MustCompile(`^6000c29[0-9a-f]-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`).MatchString(b.Uuid) {
		t.Errorf("uuid %q", b.Uuid)
	}
	if !*b.ThinProvisioned {
		t.Error("the disk is thick")
	}
	flat := s.path("[LocalDS_0] images/x-flat.vmdk")
	write(t, flat, 3*mib, "written by a guest")
	describes(t, s.path(name), 8*mib, 3*mib, "written by a guest")
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	uuid := regexp.MustCompile(`ddb\.uuid = "([0-9a-f -]+)"`).FindSubmatch(text)
	if uuid == nil || strings.NewReplacer(" ", "", "-", "").Replace(string(uuid[1])) != strings.ReplaceAll(b.Uuid, "-", "") {
		t.Errorf("the device says %s, the descriptor\n%s", b.Uuid, text)
	}

	other := s.createVM("other")
	_, err = await(other.Reconfigure(t.Context(), change(add, create, s.diskSpec(other, name, 4*mib))))
	refused(t, err, &types.FileAlreadyExists{})
	describes(t, s.path(name), 8*mib, 3*mib, "written by a guest")
	if again := s.addDisk(other, "[LocalDS_0] images/y.vmdk", mib); backing(again).Uuid == b.Uuid {
		t.Error("two disks have the same uuid")
	}
}

func TestProvisioning(t *testing.T) {
	s := start(t, vcenter.Config{})
	vm := s.createVM("vm")
	for name, want := range map[string]struct{ thin, eager bool }{
		"[LocalDS_0] vm/thin.vmdk":  {true, false},
		"[LocalDS_0] vm/thick.vmdk": {false, false},
		"[LocalDS_0] vm/eager.vmdk": {false, true},
	} {
		spec := s.diskSpec(vm, name, mib)
		backing(spec).ThinProvisioned, backing(spec).EagerlyScrub = &want.thin, &want.eager
		s.must(vm.Reconfigure(t.Context(), change(add, create, spec)))
		disks := s.disks(vm)
		b := backing(disks[len(disks)-1])
		if *b.ThinProvisioned != want.thin || *b.EagerlyScrub != want.eager {
			t.Errorf("%s: thin %v, eager %v", name, *b.ThinProvisioned, *b.EagerlyScrub)
		}
	}
}

func TestDiskManager(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	m := object.NewVirtualDiskManager(s.client.Client)
	const a, b, c = "[LocalDS_0] d/a.vmdk", "[LocalDS_0] d/b.vmdk", "[LocalDS_0] d/c.vmdk"
	spec := &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(types.VirtualDiskTypeThin), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)},
		CapacityKb:      4 << 10,
	}
	_, err := await(m.CreateVirtualDisk(ctx, a, s.dc, spec))
	refused(t, err, &types.FileNotFound{})
	s.mkdir("[LocalDS_0] d")
	s.must(m.CreateVirtualDisk(ctx, a, s.dc, spec))
	_, err = await(m.CreateVirtualDisk(ctx, a, s.dc, spec))
	refused(t, err, &types.FileAlreadyExists{})
	write(t, s.path("[LocalDS_0] d/a-flat.vmdk"), 2*mib, "hello")
	describes(t, s.path(a), 4*mib, 2*mib, "hello")
	uuid, err := m.QueryVirtualDiskUuid(ctx, a, s.dc)
	if err != nil || len(uuid) != 36 {
		t.Errorf("uuid %q, %v", uuid, err)
	}

	// Plain vcsim leaves the old name of the extent in the descriptor.
	s.must(m.MoveVirtualDisk(ctx, a, s.dc, b, s.dc, false))
	describes(t, s.path(b), 4*mib, 2*mib, "hello")
	if moved, err := m.QueryVirtualDiskUuid(ctx, b, s.dc); moved != uuid || err != nil {
		t.Errorf("uuid %s after the move, %s before, %v", moved, uuid, err)
	}
	_, err = await(m.MoveVirtualDisk(ctx, a, s.dc, c, s.dc, false))
	refused(t, err, &types.FileNotFound{})

	s.must(m.CopyVirtualDisk(ctx, b, s.dc, c, s.dc, nil, false))
	describes(t, s.path(c), 4*mib, 2*mib, "hello")
	if copied, err := m.QueryVirtualDiskUuid(ctx, c, s.dc); copied == uuid || err != nil {
		t.Errorf("a copy has the same uuid, %v", err)
	}
	_, err = await(m.MoveVirtualDisk(ctx, b, s.dc, c, s.dc, false))
	refused(t, err, &types.FileAlreadyExists{})
	write(t, s.path("[LocalDS_0] d/b-flat.vmdk"), 2*mib, "HELLO")
	s.must(m.MoveVirtualDisk(ctx, b, s.dc, c, s.dc, true))
	describes(t, s.path(c), 4*mib, 2*mib, "HELLO")

	if err := m.SetVirtualDiskUuid(ctx, c, s.dc, "60 00 c2 9a 00 01 02 03-04 05 06 07 08 09 0a 0b"); err != nil {
		t.Error(err)
	}
	if set, err := m.QueryVirtualDiskUuid(ctx, c, s.dc); set != "6000c29a-0001-0203-0405-060708090a0b" || err != nil {
		t.Errorf("uuid %s, %v", set, err)
	}
	grow := true
	s.must(m.ExtendVirtualDisk(ctx, c, s.dc, 6<<10, &grow))
	describes(t, s.path(c), 6*mib, 2*mib, "HELLO")

	s.must(m.DeleteVirtualDisk(ctx, c, s.dc))
	_, err = await(m.DeleteVirtualDisk(ctx, c, s.dc))
	refused(t, err, &types.FileNotFound{})
	if left := s.files(""); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	for _, name := range []string{"d/a.vmdk", "[LocalDS_0] ../a.vmdk", "[Other] a.vmdk"} {
		_, err = await(m.DeleteVirtualDisk(ctx, name, s.dc))
		refused(t, err, &types.InvalidDatastorePath{})
	}
	write0(t, s.path("[LocalDS_0] d/text.vmdk"), "no descriptor")
	_, err = await(m.DeleteVirtualDisk(ctx, "[LocalDS_0] d/text.vmdk", s.dc))
	refused(t, err, &types.InvalidDiskFormat{})
}

// Plain vcsim allows all of this.
func TestDisksOfRunningVMsAreLocked(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	m := object.NewVirtualDiskManager(s.client.Client)
	vm, other := s.createVM("vm"), s.createVM("other")
	const name = "[LocalDS_0] vm/x.vmdk"
	disk := s.addDisk(vm, name, 4*mib)

	attach := func(to *object.VirtualMachine, name string) error {
		_, err := await(to.Reconfigure(ctx, change(add, "", s.diskSpec(to, name, mib))))
		return err
	}
	refused(t, attach(other, "[LocalDS_0] vm/none.vmdk"), &types.FileNotFound{})

	s.must(vm.PowerOn(ctx))
	refused(t, attach(other, name), &types.FileLocked{})
	s.must(other.PowerOn(ctx))
	refused(t, attach(other, name), &types.FileLocked{})
	refused(t, attach(vm, name), &types.FileLocked{})
	_, err := await(m.MoveVirtualDisk(ctx, name, s.dc, "[LocalDS_0] y.vmdk", s.dc, false))
	refused(t, err, &types.FileLocked{})
	_, err = await(m.DeleteVirtualDisk(ctx, name, s.dc))
	refused(t, err, &types.FileLocked{})
	files := object.NewFileManager(s.client.Client)
	for _, path := range []string{"[LocalDS_0] vm", "[LocalDS_0] vm/x-flat.vmdk"} {
		_, err = await(files.DeleteDatastoreFile(ctx, path, s.dc))
		refused(t, err, &types.FileLocked{})
	}

	// Let go of, it can be attached elsewhere: with its own capacity, whatever the
	// client says.
	s.must(vm.Reconfigure(ctx, change(remove, "", disk)))
	if err := attach(other, name); err != nil {
		t.Fatal(err)
	}
	if d := s.disks(other)[0]; d.CapacityInBytes != 4*mib || backing(d).Uuid != backing(disk).Uuid {
		t.Errorf("%d bytes, uuid %s; it was %s", d.CapacityInBytes, backing(d).Uuid, backing(disk).Uuid)
	}
	s.must(other.PowerOff(ctx))
	// Two VMs that are off may have it, one of them may run.
	if err := attach(vm, name); err == nil {
		t.Log("hot add of a disk of a VM that is off")
	} else {
		t.Errorf("a disk of a VM that is off: %v", err)
	}
	_, err = await(other.PowerOn(ctx))
	refused(t, err, &types.FileLocked{})
}

func TestDetachAndErase(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	vm := s.createVM("vm")
	kept, dropped := s.addDisk(vm, "[LocalDS_0] vm/kept.vmdk", mib), s.addDisk(vm, "[LocalDS_0] vm/dropped.vmdk", mib)
	s.must(vm.Reconfigure(ctx, change(remove, "", kept)))
	s.must(vm.Reconfigure(ctx, change(remove, erase, dropped)))
	if got := append(s.files("kept"), s.files("dropped")...); len(got) != 2 {
		t.Errorf("left: %v", got)
	}
	if left := s.disks(vm); len(left) != 0 {
		t.Errorf("attached: %v", left)
	}
	_, err := await(vm.Reconfigure(ctx, change(remove, erase, kept)))
	refused(t, err, &types.InvalidDeviceSpec{})
	describes(t, s.path("[LocalDS_0] vm/kept.vmdk"), mib, 0, "\x00")
}

func TestExtendAttachedDisk(t *testing.T) {
	s := start(t, vcenter.Config{})
	vm := s.createVM("vm")
	d := s.addDisk(vm, "[LocalDS_0] vm/x.vmdk", mib)
	write(t, s.path("[LocalDS_0] vm/x-flat.vmdk"), 0, "kept")
	d.CapacityInBytes, d.CapacityInKB = 2*mib, 2<<10
	s.must(vm.Reconfigure(t.Context(), change(types.VirtualDeviceConfigSpecOperationEdit, "", d)))
	if got := s.disks(vm)[0].CapacityInBytes; got != 2*mib {
		t.Errorf("capacity %d", got)
	}
	describes(t, s.path("[LocalDS_0] vm/x.vmdk"), 2*mib, 0, "kept")
}

func TestMakeDirectoryTwice(t *testing.T) {
	s := start(t, vcenter.Config{})
	s.mkdir("[LocalDS_0] a/b/c")
	err := object.NewFileManager(s.client.Client).MakeDirectory(t.Context(), "[LocalDS_0] a/b/c", s.dc, true)
	refused(t, err, &types.FileAlreadyExists{})
}
