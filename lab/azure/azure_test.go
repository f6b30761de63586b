package azure_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/lab/azure"
	"imageport/lab/guest"
)

// guests notes what it is told.
type guests struct {
	mu    sync.Mutex
	calls []string
	vm    guest.VM
	fail  error
}

func (g *guests) note(call string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call)
	return g.fail
}

func (g *guests) PowerOn(vm guest.VM) error {
	err := g.note("on " + vm.Name)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vm = vm
	return err
}
func (g *guests) PowerOff(vm string) { _ = g.note("off " + vm) }
func (g *guests) Attach(vm string, d guest.Disk) error {
	return g.note("attach " + vm + " " + d.Name + " " + d.Selector)
}
func (g *guests) Detach(vm string, d guest.Disk) error {
	return g.note("detach " + vm + " " + d.Name + " " + d.Selector)
}

func (g *guests) take() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls = nil
	return calls
}

// client is the SDK's, logged in.
type client struct {
	*azure.Cloud
	vms   *armcompute.VirtualMachinesClient
	disks *armcompute.DisksClient
	image string
}

func start(t *testing.T, cfg azure.Config) *client {
	t.Helper()
	cfg.Dir = t.TempDir()
	cloud, err := azure.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	options := policy.ClientOptions{Transport: cloud, Retry: policy.RetryOptions{MaxRetries: -1}}
	credential, err := azidentity.NewClientSecretCredential(azure.TenantID, azure.ClientID, cloud.Secret(), &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	factory, err := armcompute.NewClientFactory(azure.SubscriptionID, credential, &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(t.TempDir(), "image.raw")
	if err := os.WriteFile(raw, bytes.Repeat([]byte("image"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	image, err := cloud.AddImage(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &client{cloud, factory.NewVirtualMachinesClient(), factory.NewDisksClient(), image}
}

// finish waits for an operation.
func finish[T any](p *runtime.Poller[T], err error) error {
	if err != nil {
		return err
	}
	_, err = p.PollUntilDone(context.Background(), &runtime.PollUntilDoneOptions{Frequency: time.Millisecond})
	return err
}

func (c *client) machine() armcompute.VirtualMachine {
	target := c.Target("x")
	subnet := "/subscriptions/" + target.SubscriptionID + "/resourceGroups/" + target.VirtualNetworkResourceGroupName +
		"/providers/Microsoft.Network/virtualNetworks/" + target.VirtualNetworkName + "/subnets/" + target.VirtualNetworkSubnetName
	return armcompute.VirtualMachine{
		Location: to.Ptr(azure.Region), Tags: map[string]*string{"who": to.Ptr("test")},
		Properties: &armcompute.VirtualMachineProperties{
			HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes("Standard_D2s_v5"))},
			StorageProfile: &armcompute.StorageProfile{
				ImageReference: &armcompute.ImageReference{ID: &c.image},
				OSDisk:         &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete)},
			},
			UserData: to.Ptr("c2VlZA=="),
			NetworkProfile: &armcompute.NetworkProfile{
				NetworkAPIVersion: to.Ptr(armcompute.NetworkAPIVersionTwoThousandTwenty1101),
				NetworkInterfaceConfigurations: []*armcompute.VirtualMachineNetworkInterfaceConfiguration{{
					Name: to.Ptr("nic"), Properties: &armcompute.VirtualMachineNetworkInterfaceConfigurationProperties{
						IPConfigurations: []*armcompute.VirtualMachineNetworkInterfaceIPConfiguration{{
							Name: to.Ptr("ip"), Properties: &armcompute.VirtualMachineNetworkInterfaceIPConfigurationProperties{Subnet: &armcompute.SubResource{ID: &subnet}},
						}},
					},
				}},
			},
		},
	}
}

func (c *client) put(name string) error {
	return finish(c.vms.BeginCreateOrUpdate(context.Background(), azure.Group, name, c.machine(), &armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions{IfNoneMatch: to.Ptr("*")}))
}

func (c *client) putDisk(name string, data armcompute.CreationData, gb int32) error {
	return finish(c.disks.BeginCreateOrUpdate(context.Background(), azure.Group, name, armcompute.Disk{
		Location: to.Ptr(azure.Region), Properties: &armcompute.DiskProperties{CreationData: &data, DiskSizeGB: &gb},
	}, nil))
}

func (c *client) change(vm string, req armcompute.AttachDetachDataDisksRequest) error {
	return finish(c.vms.BeginAttachDetachDataDisks(context.Background(), azure.Group, vm, req, nil))
}

func diskID(name string) *string {
	return to.Ptr("/subscriptions/" + azure.SubscriptionID + "/resourceGroups/" + azure.Group + "/providers/Microsoft.Compute/disks/" + name)
}

func attachAt(name string, lun int32) armcompute.AttachDetachDataDisksRequest {
	return armcompute.AttachDetachDataDisksRequest{DataDisksToAttach: []*armcompute.DataDisksToAttach{{DiskID: diskID(name), Lun: &lun, DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete)}}}
}

func wantCode(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	var re *azcore.ResponseError
	if !errors.As(err, &re) || re.ErrorCode != code || re.StatusCode != status {
		t.Errorf("%s: %v; want %d %s", what, err, status, code)
	}
}

func (c *client) names() (all []string) {
	for _, r := range c.Resources() {
		if r.Kind != "imageVersion" {
			all = append(all, r.Kind+" "+r.Name)
		}
	}
	return all
}

// A VM lives with its guest, its disks and its network interface.
func TestLife(t *testing.T) {
	t.Parallel()
	g := &guests{}
	c := start(t, azure.Config{Guests: g})
	ctx := t.Context()
	if err := c.put("vm"); err != nil {
		t.Fatal(err)
	}
	if string(g.vm.Seed) != "seed" || g.vm.Firmware != guest.UEFI || g.vm.CPUs != 2 || g.vm.MemoryMB != 8192 || len(g.vm.Disks) != 1 || g.vm.Disks[0].Selector != "lun:0" {
		t.Errorf("the guest is %+v", g.vm)
	}
	if b, err := os.ReadFile(g.vm.Disks[0].File); err != nil || !bytes.Equal(b, bytes.Repeat([]byte("image"), 1<<18)) {
		t.Errorf("its disk has %d bytes, %v", len(b), err)
	}
	wantCode(t, "the same name", c.put("VM"), 412, "PreconditionFailed")
	if err := c.putDisk("data", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)}, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.change("vm", attachAt("data", 7)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "attach twice", c.change("vm", attachAt("data", 8)), 409, "ConflictingUserInput")
	wantCode(t, "LUN", c.change("vm", attachAt("data", 64)), 400, "InvalidParameter")
	wantCode(t, "delete what is attached", finish(c.disks.BeginDelete(ctx, azure.Group, "data", nil)), 409, "OperationNotAllowed")
	res, err := c.vms.Get(ctx, azure.Group, "vm", &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesUserData)})
	if err != nil || *res.Properties.UserData != "c2VlZA==" || *res.Properties.StorageProfile.DataDisks[0].Lun != 7 {
		t.Errorf("%+v, %v", res.Properties, err)
	}
	stale := *res.Etag
	update := func(etag string) error {
		return finish(c.vms.BeginUpdate(ctx, azure.Group, "vm", armcompute.VirtualMachineUpdate{
			Properties: &armcompute.VirtualMachineProperties{UserData: to.Ptr("bmV3")},
		}, &armcompute.VirtualMachinesClientBeginUpdateOptions{IfMatch: &etag}))
	}
	if err := update(stale); err != nil {
		t.Error(err)
	}
	wantCode(t, "an old etag", update(stale), 412, "PreconditionFailed")
	if err := finish(c.vms.BeginPowerOff(ctx, azure.Group, "vm", nil)); err != nil {
		t.Error(err)
	}
	if err := finish(c.vms.BeginStart(ctx, azure.Group, "vm", nil)); err != nil {
		t.Error(err)
	}
	if string(g.vm.Seed) != "new" || len(g.vm.Disks) != 2 || g.vm.Disks[1].Selector != "lun:7" || g.vm.Disks[1].SizeBytes != 1<<30 {
		t.Errorf("started again, the guest is %+v", g.vm)
	}
	c.GuestEnded("vm")
	if r := c.Resources(); r[len(r)-1].Power != "stopped" {
		t.Errorf("the guest has ended: %+v", r[len(r)-1])
	}
	if err := finish(c.vms.BeginStart(ctx, azure.Group, "vm", nil)); err != nil {
		t.Error(err)
	}
	if err := finish(c.vms.BeginDelete(ctx, azure.Group, "vm", nil)); err != nil {
		t.Error(err)
	}
	if err := finish(c.vms.BeginDelete(ctx, azure.Group, "vm", nil)); err != nil {
		t.Errorf("delete twice: %v", err)
	}
	// Of the network interface nothing was said.
	if left := c.names(); !slices.Equal(left, []string{"networkInterface nic"}) {
		t.Errorf("left are %q", left)
	}
	want := []string{"on vm", "attach vm data lun:7", "off vm", "on vm", "on vm", "off vm"}
	if got := g.take(); !slices.Equal(got, want) {
		t.Errorf("the guest was told %q, want %q", got, want)
	}
}

// What a guest refuses fails the operation, and leaves a VM that is Failed.
func TestGuestRefuses(t *testing.T) {
	t.Parallel()
	g := &guests{fail: errors.New("no room")}
	c := start(t, azure.Config{Guests: g})
	err := c.put("vm")
	var re *azcore.ResponseError
	if !errors.As(err, &re) || re.ErrorCode != "VMStartTimedOut" || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v", err)
	}
	if _, err := c.vms.InstanceView(t.Context(), azure.Group, "vm", nil); err == nil {
		t.Error("a call that is not simulated succeeds")
	}
	res, err := c.vms.Get(t.Context(), azure.Group, "vm", &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	if err != nil || *res.Properties.ProvisioningState != "Failed" || *res.Properties.InstanceView.Statuses[0].Code != "ProvisioningState/failed/VMStartTimedOut" {
		t.Errorf("%+v, %v", res.Properties, err)
	}
}

// One operation at a time; a deletion preempts it.
func TestPreempt(t *testing.T) {
	t.Parallel()
	c := start(t, azure.Config{})
	c.Delay("VirtualMachinesClient.BeginCreateOrUpdate", time.Minute)
	poller, err := c.vms.BeginCreateOrUpdate(t.Context(), azure.Group, "vm", c.machine(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, "start what is being made", finish(c.vms.BeginStart(t.Context(), azure.Group, "vm", nil)), 409, "Conflict")
	if err := finish(c.vms.BeginDelete(t.Context(), azure.Group, "vm", nil)); err != nil {
		t.Error(err)
	}
	wantCode(t, "the creation", finish(poller, nil), 200, "OperationPreempted")
}

// A copy is one of the content at that moment; a disk is not changed by a PUT.
func TestCopy(t *testing.T) {
	t.Parallel()
	c := start(t, azure.Config{})
	empty := armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)}
	if err := c.putDisk("from", empty, 2); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string {
		for _, r := range c.Resources() {
			if r.Kind == "disk" && r.Name == name {
				return r.File
			}
		}
		return ""
	}
	f, err := os.OpenFile(file("from"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("here"), 1<<30+5); err != nil {
		t.Fatal(err)
	}
	data := armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: diskID("FROM")}
	for range 2 { // the second one changes nothing
		if err := c.putDisk("copy", data, 0); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, "another source", c.putDisk("copy", empty, 2), 409, "PropertyChangeNotAllowed")
	b := make([]byte, 4)
	copied, err := os.Open(file("copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if _, err := copied.ReadAt(b, 1<<30+5); err != nil || string(b) != "here" {
		t.Errorf("it has %q, %v", b, err)
	}
	if info, err := copied.Stat(); err != nil || info.Size() != 2<<30 {
		t.Errorf("%v, %v", info, err)
	}
	wantCode(t, "a copy of nothing", c.putDisk("other", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: diskID("no")}, 0), 404, "ResourceNotFound")
}
