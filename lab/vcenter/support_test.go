package vcenter_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	taskerror "github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/appliance/seedsource/media"
	"imageport/lab/guest"
	"imageport/lab/vcenter"
)

const mib = 1 << 20

// site is a VCenter and a client that has logged in.
type site struct {
	*vcenter.VCenter
	t       *testing.T
	client  *govmomi.Client
	dc      *object.Datacenter
	folder  *object.Folder
	pool    *object.ResourcePool
	network object.NetworkReference
}

func start(t *testing.T, cfg vcenter.Config) *site {
	t.Helper()
	v, err := vcenter.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	s := &site{VCenter: v, t: t}
	if s.client, err = connect(t, v, v.Username(), v.Password()); err != nil {
		t.Fatal(err)
	}
	f := find.NewFinder(s.client.Client)
	if s.dc, err = f.DefaultDatacenter(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.SetDatacenter(s.dc)
	folders, err := s.dc.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.folder = folders.VmFolder
	if s.pool, err = f.ResourcePool(t.Context(), "DC0_C0/Resources"); err != nil {
		t.Fatal(err)
	}
	if s.network, err = f.Network(t.Context(), "VM Network"); err != nil {
		t.Fatal(err)
	}
	return s
}

// connect logs in as a client that trusts the certificate and nothing else.
func connect(t *testing.T, v *vcenter.VCenter, user, password string) (*govmomi.Client, error) {
	t.Helper()
	u, err := url.Parse(v.URL())
	if err != nil {
		t.Fatal(err)
	}
	s := soap.NewClient(u, false)
	s.DefaultTransport().TLSClientConfig.RootCAs = x509.NewCertPool()
	if !s.DefaultTransport().TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(v.CertificatePEM())) {
		t.Fatal("no certificate")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := vim25.NewClient(ctx, s)
	if err != nil {
		return nil, err
	}
	client := &govmomi.Client{Client: c, SessionManager: session.NewManager(c)}
	return client, client.SessionManager.Login(ctx, url.UserPassword(user, password))
}

// await gives the result of a task that was started. It polls: the simulator
// loses updates for those who wait for them.
func await(task *object.Task, err error) (types.AnyType, error) {
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		var m mo.Task
		if err := task.Properties(ctx, task.Reference(), []string{"info"}, &m); err != nil {
			return nil, err
		}
		switch m.Info.State {
		case types.TaskInfoStateSuccess:
			return m.Info.Result, nil
		case types.TaskInfoStateError:
			return nil, &taskerror.Error{LocalizedMethodFault: m.Info.Error}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *site) must(task *object.Task, err error) types.AnyType {
	s.t.Helper()
	result, err := await(task, err)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// refused wants err to be the fault of the same type as want.
func refused(t *testing.T, err error, want types.BaseMethodFault) {
	t.Helper()
	var got types.BaseMethodFault
	fault.In(err, func(f types.BaseMethodFault, _ string, _ []types.LocalizableMessage) bool {
		got = f
		return reflect.TypeOf(f) == reflect.TypeOf(want)
	})
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		t.Errorf("fault %T (%v), want %T", got, err, want)
	}
}

// vmSpec is a VM with a SCSI controller and a network card.
func (s *site) vmSpec(name string) types.VirtualMachineConfigSpec {
	s.t.Helper()
	var devices object.VirtualDeviceList
	scsi, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		s.t.Fatal(err)
	}
	backing, err := s.network.EthernetCardBackingInfo(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	card, err := devices.CreateEthernetCard("vmxnet3", backing)
	if err != nil {
		s.t.Fatal(err)
	}
	devices = append(devices, scsi, card)
	changes, err := devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		s.t.Fatal(err)
	}
	return types.VirtualMachineConfigSpec{
		Name: name, GuestId: string(types.VirtualMachineGuestOsIdentifierOther5xLinux64Guest),
		NumCPUs: 2, MemoryMB: 512, Firmware: "efi",
		Files:        &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"},
		ExtraConfig:  []types.BaseOptionValue{&types.OptionValue{Key: media.GuestInfo, Value: media.Base64([]byte("abc"))}},
		DeviceChange: changes,
	}
}

func (s *site) createVM(name string) *object.VirtualMachine {
	s.t.Helper()
	ref := s.must(s.folder.CreateVM(s.t.Context(), s.vmSpec(name), s.pool, nil)).(types.ManagedObjectReference)
	return object.NewVirtualMachine(s.client.Client, ref)
}

// diskSpec is a thin disk for the VM's SCSI controller.
func (s *site) diskSpec(vm *object.VirtualMachine, name string, sizeBytes int64) *types.VirtualDisk {
	s.t.Helper()
	devices := s.devices(vm)
	controller, err := devices.FindSCSIController("")
	if err != nil {
		s.t.Fatal(err)
	}
	disk := devices.CreateDisk(&controller.VirtualController, types.ManagedObjectReference{}, name)
	disk.ControllerKey = controller.Key
	disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Datastore = nil
	disk.CapacityInBytes, disk.CapacityInKB = sizeBytes, sizeBytes>>10
	return disk
}

func (s *site) devices(vm *object.VirtualMachine) object.VirtualDeviceList {
	s.t.Helper()
	devices, err := vm.Device(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return devices
}

func (s *site) disks(vm *object.VirtualMachine) []*types.VirtualDisk {
	s.t.Helper()
	var disks []*types.VirtualDisk
	for _, d := range s.devices(vm).SelectByType((*types.VirtualDisk)(nil)) {
		disks = append(disks, d.(*types.VirtualDisk))
	}
	return disks
}

func backing(d *types.VirtualDisk) *types.VirtualDiskFlatVer2BackingInfo {
	return d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
}

func change(op types.VirtualDeviceConfigSpecOperation, fop types.VirtualDeviceConfigSpecFileOperation, d types.BaseVirtualDevice) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: op, FileOperation: fop, Device: d},
	}}
}

const (
	add    = types.VirtualDeviceConfigSpecOperationAdd
	remove = types.VirtualDeviceConfigSpecOperationRemove
	create = types.VirtualDeviceConfigSpecFileOperationCreate
	erase  = types.VirtualDeviceConfigSpecFileOperationDestroy
)

// addDisk makes a disk by attaching it.
func (s *site) addDisk(vm *object.VirtualMachine, name string, sizeBytes int64) *types.VirtualDisk {
	s.t.Helper()
	s.must(vm.Reconfigure(s.t.Context(), change(add, create, s.diskSpec(vm, name, sizeBytes))))
	for _, d := range s.disks(vm) {
		if backing(d).FileName == name {
			return d
		}
	}
	s.t.Fatalf("no disk %s", name)
	return nil
}

func (s *site) state(vm *object.VirtualMachine) types.VirtualMachinePowerState {
	s.t.Helper()
	var m mo.VirtualMachine
	if err := vm.Properties(s.t.Context(), vm.Reference(), []string{"runtime.powerState"}, &m); err != nil {
		s.t.Fatal(err)
	}
	return m.Runtime.PowerState
}

func (s *site) mkdir(name string) {
	s.t.Helper()
	if err := object.NewFileManager(s.client.Client).MakeDirectory(s.t.Context(), name, s.dc, true); err != nil {
		s.t.Fatal(err)
	}
}

// files gives those whose name contains part.
func (s *site) files(part string) []string {
	s.t.Helper()
	files, err := s.Files()
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(f string) bool { return !strings.Contains(f, part) })
}

func (s *site) path(name string) string {
	s.t.Helper()
	p, err := s.File(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, path string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

func readAt(t *testing.T, path string, at int64, n int) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ward is Guests that note what they are told.
type ward struct {
	mu   sync.Mutex
	log  []string
	last guest.VM
	disk guest.Disk
	fail map[string]error // by verb
	slow time.Duration    // how long a PowerOn takes
}

func (w *ward) note(verb, vm string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, verb+" "+vm)
	return w.fail[verb]
}

func (w *ward) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.log, ", ")
}

func (w *ward) PowerOn(vm guest.VM) error {
	time.Sleep(w.slow)
	w.mu.Lock()
	w.last = vm
	w.mu.Unlock()
	return w.note("on", vm.Name)
}

func (w *ward) PowerOff(vm string) { _ = w.note("off", vm) }

func (w *ward) Attach(vm string, d guest.Disk) error {
	w.mu.Lock()
	w.disk = d
	w.mu.Unlock()
	return w.note("attach", fmt.Sprint(vm, " ", d.Name))
}

func (w *ward) Detach(vm string, d guest.Disk) error {
	return w.note("detach", fmt.Sprint(vm, " ", d.Name))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func write0(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// life is that of a CE: clone, start, output disk, stop, destroy.
func life(ctx context.Context, s *site, c *vim25.Client, template *object.VirtualMachine, name string) error {
	result, err := await(object.NewVirtualMachine(c, template.Reference()).Clone(ctx, s.folder, name, s.cloneSpec()))
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	vm := object.NewVirtualMachine(c, result.(types.ManagedObjectReference))
	if _, err := await(vm.PowerOn(ctx)); err != nil {
		return fmt.Errorf("power on: %w", err)
	}
	if _, err := await(vm.Reconfigure(ctx, change(add, create, s.diskSpec(vm, "[LocalDS_0] "+name+"/out.vmdk", mib)))); err != nil {
		return fmt.Errorf("add: %w", err)
	}
	if _, err := await(vm.PowerOff(ctx)); err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	if _, err := await(vm.Destroy(ctx)); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return nil
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// list reads all VMs as a sweep does.
func list(ctx context.Context, c *vim25.Client) error {
	v, err := view.NewManager(c).CreateContainerView(ctx, c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		return err
	}
	var vms []mo.VirtualMachine
	err = v.Retrieve(ctx, []string{"VirtualMachine"}, []string{"name", "runtime.powerState", "config.extraConfig", "config.hardware.device"}, &vms)
	if fault.Is(err, &types.ManagedObjectNotFound{}) {
		err = nil // one has gone meanwhile
	}
	return errors.Join(err, v.Destroy(ctx))
}
