package azure_test

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/job"
	lab "imageport/lab/azure"
)

// subscription is the world of a real subscription, seen by the SDK. What fails
// is an error of the test.
type subscription struct {
	t       testing.TB
	where   job.Target
	image   string // what planted VMs are made from
	vms     *armcompute.VirtualMachinesClient
	disks   *armcompute.DisksClient
	manager *arm.Client
	every   time.Duration
}

func newSubscription(t testing.TB, where job.Target, image string, token azcore.TokenCredential, transport policy.Transporter, every time.Duration) *subscription {
	t.Helper()
	options := &arm.ClientOptions{ClientOptions: policy.ClientOptions{Transport: transport}, DisableRPRegistration: true}
	factory, err := armcompute.NewClientFactory(where.SubscriptionID, token, options)
	if err != nil {
		t.Fatal(err)
	}
	manager, err := arm.NewClient("imageport-test", "v1.0.0", token, options)
	if err != nil {
		t.Fatal(err)
	}
	return &subscription{t, where, image, factory.NewVirtualMachinesClient(), factory.NewDisksClient(), manager, every}
}

// groups gives the real names of groups by those of the lab.
func (s *subscription) groups() map[string]string {
	return map[string]string{lab.Group: s.where.ResourceGroup, lab.OutputGroup: s.where.TargetDiskResourceGroupName}
}

// done notes how an operation ended.
func done[T any](s *subscription, what string, p *runtime.Poller[T], err error) {
	if err == nil {
		_, err = p.PollUntilDone(context.Background(), &runtime.PollUntilDoneOptions{Frequency: s.every})
	}
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func plainTags(tags map[string]*string) map[string]string {
	p := make(map[string]string)
	for k, v := range tags {
		p[k] = value(v)
	}
	return p
}

func (s *subscription) Resources() []lab.Resource {
	ctx := context.Background()
	var all []lab.Resource
	group := s.where.ResourceGroup
	for pager := s.vms.NewListPager(group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			s.t.Errorf("list VMs: %v", err)
			return nil
		}
		for _, m := range page.Value {
			r := lab.Resource{Kind: "virtualMachine", Group: lab.Group, Name: value(m.Name), State: value(m.Properties.ProvisioningState), Tags: plainTags(m.Tags), Ref: value(m.ID)}
			res, err := s.vms.Get(ctx, group, r.Name, &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
			if err != nil {
				continue // it has gone meanwhile
			}
			for _, status := range value(res.Properties.InstanceView).Statuses {
				if power, ok := strings.CutPrefix(value(status.Code), "PowerState/"); ok {
					r.Power = power
				}
			}
			all = append(all, r)
		}
	}
	for name, group := range s.groups() {
		for pager := s.disks.NewListByResourceGroupPager(group, nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			if err != nil {
				s.t.Errorf("list disks: %v", err)
				return nil
			}
			for _, d := range page.Value {
				r := lab.Resource{Kind: "disk", Group: name, Name: value(d.Name), State: value(d.Properties.ProvisioningState), Tags: plainTags(d.Tags), Ref: value(d.ID)}
				if d.ManagedBy != nil {
					r.AttachedTo = path.Base(*d.ManagedBy)
				}
				all = append(all, r)
			}
		}
	}
	return append(all, s.nics()...)
}

func (s *subscription) nics() (all []lab.Resource) {
	url := s.manager.Endpoint() + "/subscriptions/" + s.where.SubscriptionID + "/resourceGroups/" + s.where.ResourceGroup + "/providers/Microsoft.Network/networkInterfaces?api-version=2023-11-01"
	req, err := runtime.NewRequest(context.Background(), http.MethodGet, url)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	resp, err := s.manager.Pipeline().Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Errorf("list network interfaces: %v, %v", resp, err)
		return nil
	}
	b, err := runtime.Payload(resp)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	var page struct {
		Value []struct {
			ID, Name   string
			Tags       map[string]string
			Properties struct {
				ProvisioningState string
				VirtualMachine    *struct{ ID string }
			}
		}
	}
	if err := json.Unmarshal(b, &page); err != nil {
		s.t.Error(err)
	}
	for _, n := range page.Value {
		r := lab.Resource{Kind: "networkInterface", Group: lab.Group, Name: n.Name, State: n.Properties.ProvisioningState, Tags: n.Tags, Ref: n.ID}
		if n.Properties.VirtualMachine != nil {
			r.AttachedTo = path.Base(n.Properties.VirtualMachine.ID)
		}
		all = append(all, r)
	}
	return all
}

func (s *subscription) GuestEnded(vm string) {
	p, err := s.vms.BeginPowerOff(context.Background(), s.where.ResourceGroup, vm, &armcompute.VirtualMachinesClientBeginPowerOffOptions{SkipShutdown: to.Ptr(true)})
	done(s, "power off "+vm, p, err)
}

// AddMachine makes a VM without marks. It, its disk and its network interface go
// when the test ends.
func (s *subscription) AddMachine(_, name string) {
	subnet := "/subscriptions/" + s.where.SubscriptionID + "/resourceGroups/" + s.where.VirtualNetworkResourceGroupName +
		"/providers/Microsoft.Network/virtualNetworks/" + s.where.VirtualNetworkName + "/subnets/" + s.where.VirtualNetworkSubnetName
	p, err := s.vms.BeginCreateOrUpdate(context.Background(), s.where.ResourceGroup, name, armcompute.VirtualMachine{
		Location: &s.where.AzureRegion,
		Properties: &armcompute.VirtualMachineProperties{
			HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes("Standard_D2s_v5"))},
			StorageProfile: &armcompute.StorageProfile{
				ImageReference: &armcompute.ImageReference{ID: &s.image},
				OSDisk:         &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete)},
			},
			NetworkProfile: &armcompute.NetworkProfile{
				NetworkAPIVersion: to.Ptr(armcompute.NetworkAPIVersionTwoThousandTwenty1101),
				NetworkInterfaceConfigurations: []*armcompute.VirtualMachineNetworkInterfaceConfiguration{{
					Name: to.Ptr("planted-" + name), Properties: &armcompute.VirtualMachineNetworkInterfaceConfigurationProperties{
						Primary: to.Ptr(true), DeleteOption: to.Ptr(armcompute.DeleteOptionsDelete),
						IPConfigurations: []*armcompute.VirtualMachineNetworkInterfaceIPConfiguration{{
							Name: to.Ptr("ip"), Properties: &armcompute.VirtualMachineNetworkInterfaceIPConfigurationProperties{Subnet: &armcompute.SubResource{ID: &subnet}},
						}},
					},
				}},
			},
		},
	}, nil)
	done(s, "plant "+name, p, err)
	s.t.Cleanup(func() {
		p, err := s.vms.BeginDelete(context.Background(), s.where.ResourceGroup, name, nil)
		done(s, "remove "+name, p, err)
	})
}

func (s *subscription) AddDisk(group, name string, sizeBytes int64) error {
	p, err := s.disks.BeginCreateOrUpdate(context.Background(), s.groups()[group], name, armcompute.Disk{
		Location: &s.where.AzureRegion,
		Properties: &armcompute.DiskProperties{
			CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)}, DiskSizeGB: to.Ptr(int32(sizeBytes >> 30)),
		},
	}, nil)
	done(s, "plant "+name, p, err)
	s.t.Cleanup(func() { s.Remove(group, name) })
	return nil
}

func (s *subscription) Remove(group, disk string) {
	p, err := s.disks.BeginDelete(context.Background(), s.groups()[group], disk, nil)
	done(s, "remove "+disk, p, err)
}

// Wait waits until no resource is on its way to another state.
func (s *subscription) Wait() {
	for range 600 {
		busy := false
		for _, r := range s.Resources() {
			busy = busy || r.State != "Succeeded" && r.State != "Failed"
		}
		if !busy {
			return
		}
		time.Sleep(s.every)
	}
	s.t.Error("Azure does not come to rest")
}

var _ world = (*subscription)(nil)
