package vsphere

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/ovf"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// leaseRenewal is how often the vCenter is told that an upload goes on. It gives
// an upload up after 5 minutes without a word.
const leaseRenewal = 30 * time.Second

// importOVA makes a VM of an OVA. If it fails when the VM is there, it gives
// that as well.
func (d *Driver) importOVA(ctx context.Context, s *site, folder types.ManagedObjectReference, o *ova, name string, marks []types.BaseOptionValue) (*types.ManagedObjectReference, error) {
	host, err := s.host(name)
	if err != nil {
		return nil, err
	}
	params := types.OvfCreateImportSpecParams{
		EntityName: name, DiskProvisioning: string(types.OvfCreateImportSpecParamsDiskProvisioningTypeThin), HostSystem: host,
	}
	for _, n := range o.networks {
		params.NetworkMapping = append(params.NetworkMapping, types.OvfNetworkMapping{Name: n, Network: s.network.ref})
	}
	spec, err := ovf.NewManager(d.client).CreateImportSpec(ctx, o.descriptor, s.pool.ref, s.datastore.ref, &params)
	if err != nil {
		return nil, err
	}
	if len(spec.Error) > 0 {
		return nil, task.Error{LocalizedMethodFault: &spec.Error[0]}
	}
	vmSpec, ok := spec.ImportSpec.(*types.VirtualMachineImportSpec)
	if !ok {
		return nil, platforms.Errorf(platforms.BadRequest, "the appliance's OVA is one of a %T, want a VM", spec.ImportSpec)
	}
	vmSpec.ConfigSpec.ExtraConfig = append(vmSpec.ConfigSpec.ExtraConfig, marks...)
	var onHost *object.HostSystem
	if host != nil {
		onHost = object.NewHostSystem(d.client, *host)
	}
	lease, err := object.NewResourcePool(d.client, s.pool.ref).ImportVApp(ctx, vmSpec, object.NewFolder(d.client, folder), onHost)
	if err != nil {
		return nil, err
	}
	info, err := d.awaitLease(ctx, lease)
	if err == nil {
		err = d.upload(ctx, lease, info, o, spec.FileItem)
	}
	if err == nil {
		err = lease.Complete(ctx)
	}
	if err == nil {
		return &info.Entity, nil
	}
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer stop()
	if info == nil { // ctx may have ended before the VM was there
		info, _ = d.awaitLease(longer, lease)
	} else if _, goneErr := d.read(longer, info.Entity, "name"); goneErr != nil {
		if _, gone := faultOf(goneErr).(*types.ManagedObjectNotFound); gone {
			err = fmt.Errorf("%w; somebody removed the VM: %w", err, patience.ErrContended)
		}
	}
	_ = lease.Abort(longer, nil) // it makes the vCenter remove the VM
	if info == nil {
		return nil, err
	}
	return &info.Entity, err
}

// awaitLease polls the lease until the vCenter is ready for the disks.
func (d *Driver) awaitLease(ctx context.Context, lease *nfc.Lease) (*types.HttpNfcLeaseInfo, error) {
	for pause := d.pauses; ; {
		p, err := d.read(ctx, lease.Reference(), "state", "info", "error")
		if err != nil {
			return nil, err
		}
		switch state := get[types.HttpNfcLeaseState](p, "state"); state {
		case types.HttpNfcLeaseStateReady:
			info, ok := p["info"].(types.HttpNfcLeaseInfo)
			if !ok {
				return nil, fmt.Errorf("the lease of the import is ready, and does not say for what")
			}
			return &info, nil
		case types.HttpNfcLeaseStateInitializing, "":
		default:
			if f, ok := p["error"].(types.LocalizedMethodFault); ok {
				return nil, task.Error{LocalizedMethodFault: &f}
			}
			return nil, fmt.Errorf("the lease of the import is %s", state)
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// upload sends the disks to where the lease says.
func (d *Driver) upload(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo, o *ova, files []types.OvfFileItem) error {
	var sent, total atomic.Int64
	for _, f := range files {
		total.Add(f.Size)
	}
	renewing, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for tick := time.NewTicker(leaseRenewal); ; {
			select {
			case <-tick.C:
				// If it does not get through, the upload will say what is the matter.
				_ = lease.Progress(renewing, int32(min(99, 100*sent.Load()/max(1, total.Load()))))
			case <-renewing.Done():
				tick.Stop()
				return
			}
		}
	}()
	for _, device := range info.DeviceUrl {
		for _, f := range files {
			if f.DeviceId != device.ImportKey {
				continue
			}
			if err := d.uploadFile(ctx, device, f, o, &sent); err != nil {
				return fmt.Errorf("upload %s: %w", f.Path, err)
			}
		}
	}
	return nil
}

func (d *Driver) uploadFile(ctx context.Context, to types.HttpNfcLeaseDeviceUrl, item types.OvfFileItem, o *ova, sent *atomic.Int64) error {
	u, err := d.client.ParseURL(to.Url)
	if err != nil {
		return err
	}
	if to.SslThumbprint != "" {
		d.client.SetThumbprint(u.Host, to.SslThumbprint) // of the host, in the words of the vCenter
	}
	archive, err := d.p.ova.Open()
	if err != nil {
		return err
	}
	defer archive.Close()
	content, err := o.content(archive, item.Path)
	if err != nil {
		return err
	}
	how := soap.Upload{Method: http.MethodPost, Type: "application/x-vnd.vmware-streamVmdk", ContentLength: content.Size()}
	if item.Create {
		how.Method, how.Headers = http.MethodPut, map[string]string{"Overwrite": "t"}
	}
	return d.client.Upload(ctx, &counter{content, sent}, u, &how)
}

// counter counts what is read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
