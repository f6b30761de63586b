package azure

import (
	"context"
	"net/http"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8/fake"
)

// servers are the SDK's, with our state behind them.
func (c *Cloud) servers() *fake.ServerFactory {
	return &fake.ServerFactory{
		VirtualMachinesServer: c.machinesServer(),
		DisksServer:           c.disksServer(),
		GalleriesServer: fake.GalleriesServer{
			Get: func(_ context.Context, group, name string, _ *armcompute.GalleriesClientGetOptions) (azfake.Responder[armcompute.GalleriesClientGetResponse], azfake.ErrorResponder) {
				g, f := getGallery(group, name)
				return answer(armcompute.GalleriesClientGetResponse{Gallery: g}, f)
			},
		},
		ImagesServer: fake.ImagesServer{
			Get: func(_ context.Context, group, name string, _ *armcompute.ImagesClientGetOptions) (azfake.Responder[armcompute.ImagesClientGetResponse], azfake.ErrorResponder) {
				i, f := c.getManagedImage(group, name)
				return answer(armcompute.ImagesClientGetResponse{Image: i}, f)
			},
		},
		GalleryImagesServer:        c.definitionsServer(),
		GalleryImageVersionsServer: c.versionsServer(),
		VirtualMachineSizesServer: fake.VirtualMachineSizesServer{
			NewListPager: func(string, *armcompute.VirtualMachineSizesClientListOptions) (p azfake.PagerResponder[armcompute.VirtualMachineSizesClientListResponse]) {
				var page armcompute.VirtualMachineSizesClientListResponse
				for _, s := range sizes {
					page.Value = append(page.Value, &armcompute.VirtualMachineSize{
						Name: to.Ptr(s.name), NumberOfCores: to.Ptr(s.cores), MemoryInMB: to.Ptr(s.memoryMB), MaxDataDiskCount: to.Ptr(s.disks),
					})
				}
				p.AddPage(http.StatusOK, page, nil)
				return p
			},
		},
		UsageServer: fake.UsageServer{
			NewListPager: func(string, *armcompute.UsageClientListOptions) (p azfake.PagerResponder[armcompute.UsageClientListResponse]) {
				c.mu.Lock()
				defer c.mu.Unlock()
				var page armcompute.UsageClientListResponse
				page.Value = append(page.Value, &armcompute.Usage{
					Name: &armcompute.UsageName{Value: to.Ptr("cores"), LocalizedValue: to.Ptr("Total Regional vCPUs")},
					Unit: to.Ptr("Count"), CurrentValue: to.Ptr(c.coresInUse()), Limit: to.Ptr(c.cfg.Cores),
				})
				p.AddPage(http.StatusOK, page, nil)
				return p
			},
		},
	}
}

// answer gives what one request is answered with.
func answer[T any](v T, f *Fault) (r azfake.Responder[T], e azfake.ErrorResponder) {
	if f != nil {
		e.SetError(f)
		return r, e
	}
	r.SetResponse(http.StatusOK, v, nil)
	return r, e
}

// begun gives what the request is answered with that starts an operation; of one
// that is nil all was done at once.
func begun[T any](ctx context.Context, v T, op *operation, f *Fault) (r azfake.PollerResponder[T], e azfake.ErrorResponder) {
	if f != nil {
		e.SetError(f)
		return r, e
	}
	if op != nil {
		announce(ctx, op)
	}
	r.SetTerminalResponse(http.StatusOK, v, nil)
	return r, e
}

func (c *Cloud) machinesServer() fake.VirtualMachinesServer {
	return fake.VirtualMachinesServer{
		BeginCreateOrUpdate: func(ctx context.Context, group, name string, vm armcompute.VirtualMachine, o *armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientCreateOrUpdateResponse], azfake.ErrorResponder) {
			made, op, f := c.createMachine(group, name, vm, o != nil && o.IfNoneMatch != nil)
			return begun(ctx, armcompute.VirtualMachinesClientCreateOrUpdateResponse{VirtualMachine: made}, op, f)
		},
		BeginUpdate: func(ctx context.Context, group, name string, vm armcompute.VirtualMachineUpdate, o *armcompute.VirtualMachinesClientBeginUpdateOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientUpdateResponse], azfake.ErrorResponder) {
			etag := ""
			if o != nil && o.IfMatch != nil {
				etag = *o.IfMatch
			}
			made, op, f := c.updateMachine(group, name, vm, etag)
			return begun(ctx, armcompute.VirtualMachinesClientUpdateResponse{VirtualMachine: made}, op, f)
		},
		Get: func(_ context.Context, group, name string, o *armcompute.VirtualMachinesClientGetOptions) (azfake.Responder[armcompute.VirtualMachinesClientGetResponse], azfake.ErrorResponder) {
			var expand armcompute.InstanceViewTypes
			if o != nil && o.Expand != nil {
				expand = *o.Expand
			}
			vm, f := c.getMachine(group, name, expand)
			return answer(armcompute.VirtualMachinesClientGetResponse{VirtualMachine: vm}, f)
		},
		NewListPager: func(group string, _ *armcompute.VirtualMachinesClientListOptions) (p azfake.PagerResponder[armcompute.VirtualMachinesClientListResponse]) {
			var page armcompute.VirtualMachinesClientListResponse
			page.Value = c.listMachines(group)
			p.AddPage(http.StatusOK, page, nil)
			return p
		},
		BeginDelete: func(ctx context.Context, group, name string, _ *armcompute.VirtualMachinesClientBeginDeleteOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientDeleteResponse], azfake.ErrorResponder) {
			op, f := c.deleteMachine(group, name)
			return begun(ctx, armcompute.VirtualMachinesClientDeleteResponse{}, op, f)
		},
		BeginStart: func(ctx context.Context, group, name string, _ *armcompute.VirtualMachinesClientBeginStartOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientStartResponse], azfake.ErrorResponder) {
			op, f := c.startMachine(group, name)
			return begun(ctx, armcompute.VirtualMachinesClientStartResponse{}, op, f)
		},
		BeginPowerOff: func(ctx context.Context, group, name string, _ *armcompute.VirtualMachinesClientBeginPowerOffOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientPowerOffResponse], azfake.ErrorResponder) {
			op, f := c.stopMachine("VirtualMachinesClient.BeginPowerOff", group, name, powerStopped)
			return begun(ctx, armcompute.VirtualMachinesClientPowerOffResponse{}, op, f)
		},
		BeginDeallocate: func(ctx context.Context, group, name string, _ *armcompute.VirtualMachinesClientBeginDeallocateOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientDeallocateResponse], azfake.ErrorResponder) {
			op, f := c.stopMachine("VirtualMachinesClient.BeginDeallocate", group, name, powerDeallocated)
			return begun(ctx, armcompute.VirtualMachinesClientDeallocateResponse{}, op, f)
		},
		BeginAttachDetachDataDisks: func(ctx context.Context, group, name string, req armcompute.AttachDetachDataDisksRequest, _ *armcompute.VirtualMachinesClientBeginAttachDetachDataDisksOptions) (azfake.PollerResponder[armcompute.VirtualMachinesClientAttachDetachDataDisksResponse], azfake.ErrorResponder) {
			op, f := c.changeDisks(group, name, req)
			return begun(ctx, armcompute.VirtualMachinesClientAttachDetachDataDisksResponse{}, op, f)
		},
	}
}

func (c *Cloud) disksServer() fake.DisksServer {
	return fake.DisksServer{
		BeginCreateOrUpdate: func(ctx context.Context, group, name string, d armcompute.Disk, _ *armcompute.DisksClientBeginCreateOrUpdateOptions) (azfake.PollerResponder[armcompute.DisksClientCreateOrUpdateResponse], azfake.ErrorResponder) {
			made, op, f := c.createDisk(group, name, d)
			return begun(ctx, armcompute.DisksClientCreateOrUpdateResponse{Disk: made}, op, f)
		},
		Get: func(_ context.Context, group, name string, _ *armcompute.DisksClientGetOptions) (azfake.Responder[armcompute.DisksClientGetResponse], azfake.ErrorResponder) {
			d, f := c.getDisk(group, name)
			return answer(armcompute.DisksClientGetResponse{Disk: d}, f)
		},
		NewListByResourceGroupPager: func(group string, _ *armcompute.DisksClientListByResourceGroupOptions) (p azfake.PagerResponder[armcompute.DisksClientListByResourceGroupResponse]) {
			var page armcompute.DisksClientListByResourceGroupResponse
			page.Value = c.listDisks(group)
			p.AddPage(http.StatusOK, page, nil)
			return p
		},
		BeginDelete: func(ctx context.Context, group, name string, _ *armcompute.DisksClientBeginDeleteOptions) (azfake.PollerResponder[armcompute.DisksClientDeleteResponse], azfake.ErrorResponder) {
			op, f := c.deleteDisk(group, name)
			return begun(ctx, armcompute.DisksClientDeleteResponse{}, op, f)
		},
		BeginGrantAccess: func(ctx context.Context, group, name string, data armcompute.GrantAccessData, _ *armcompute.DisksClientBeginGrantAccessOptions) (azfake.PollerResponder[armcompute.DisksClientGrantAccessResponse], azfake.ErrorResponder) {
			op, f := c.grantAccess(group, name, data)
			return begun(ctx, armcompute.DisksClientGrantAccessResponse{}, op, f)
		},
		BeginRevokeAccess: func(ctx context.Context, group, name string, _ *armcompute.DisksClientBeginRevokeAccessOptions) (azfake.PollerResponder[armcompute.DisksClientRevokeAccessResponse], azfake.ErrorResponder) {
			op, f := c.revokeAccess(group, name)
			return begun(ctx, armcompute.DisksClientRevokeAccessResponse{}, op, f)
		},
	}
}

func (c *Cloud) definitionsServer() fake.GalleryImagesServer {
	return fake.GalleryImagesServer{
		Get: func(_ context.Context, group, gallery, name string, _ *armcompute.GalleryImagesClientGetOptions) (azfake.Responder[armcompute.GalleryImagesClientGetResponse], azfake.ErrorResponder) {
			d, f := c.getDefinition(group, gallery, name)
			return answer(armcompute.GalleryImagesClientGetResponse{GalleryImage: d}, f)
		},
		BeginCreateOrUpdate: func(ctx context.Context, group, gallery, name string, d armcompute.GalleryImage, _ *armcompute.GalleryImagesClientBeginCreateOrUpdateOptions) (azfake.PollerResponder[armcompute.GalleryImagesClientCreateOrUpdateResponse], azfake.ErrorResponder) {
			made, op, f := c.createDefinition(group, gallery, name, d)
			return begun(ctx, armcompute.GalleryImagesClientCreateOrUpdateResponse{GalleryImage: made}, op, f)
		},
	}
}

func (c *Cloud) versionsServer() fake.GalleryImageVersionsServer {
	return fake.GalleryImageVersionsServer{
		Get: func(_ context.Context, group, gallery, image, name string, _ *armcompute.GalleryImageVersionsClientGetOptions) (azfake.Responder[armcompute.GalleryImageVersionsClientGetResponse], azfake.ErrorResponder) {
			v, f := c.getVersion(group, gallery, image, name)
			return answer(armcompute.GalleryImageVersionsClientGetResponse{GalleryImageVersion: v}, f)
		},
		BeginCreateOrUpdate: func(ctx context.Context, group, gallery, image, name string, v armcompute.GalleryImageVersion, _ *armcompute.GalleryImageVersionsClientBeginCreateOrUpdateOptions) (azfake.PollerResponder[armcompute.GalleryImageVersionsClientCreateOrUpdateResponse], azfake.ErrorResponder) {
			made, op, f := c.createVersion(group, gallery, image, name, v)
			return begun(ctx, armcompute.GalleryImageVersionsClientCreateOrUpdateResponse{GalleryImageVersion: made}, op, f)
		},
		BeginDelete: func(ctx context.Context, group, gallery, image, name string, _ *armcompute.GalleryImageVersionsClientBeginDeleteOptions) (azfake.PollerResponder[armcompute.GalleryImageVersionsClientDeleteResponse], azfake.ErrorResponder) {
			op, f := c.deleteVersion(group, gallery, image, name)
			return begun(ctx, armcompute.GalleryImageVersionsClientDeleteResponse{}, op, f)
		},
	}
}
