package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/job/seed"
)

// part is something that belongs to a CE besides its VM, in the order in which
// it is to be removed: a copy of an output disk that did not come to its end
// before the disk that it is made from.
type part struct {
	ce       string
	id       string
	tags     tags
	created  time.Time // not known of a network interface
	attached bool
	remove   func(context.Context) error
}

// parts gives those of all CEs: disks and network interfaces by their tags.
func (d *Driver) parts(ctx context.Context) ([]part, error) {
	copies, err := d.diskParts(ctx, d.target, unfinishedCopy)
	if err != nil {
		return nil, fmt.Errorf("disks of %s: %w", d.target, err)
	}
	own, err := d.diskParts(ctx, d.group, ownDisk)
	if err != nil {
		return nil, fmt.Errorf("disks of %s: %w", d.group, err)
	}
	nics, err := d.nicParts(ctx)
	if err != nil {
		return nil, fmt.Errorf("network interfaces of %s: %w", d.group, err)
	}
	return append(append(copies, own...), nics...), nil
}

// bootDisk is the name of the disk that a VM of a CE starts from, see machine.
var bootDisk = regexp.MustCompile(`^(ce-[0-9a-f]{12})-[0-9a-f]{8}-os$`)

// ownDisk gives the CE that a disk belongs to. Azure makes the one that a VM
// starts from, and may do so without the VM's tags.
func ownDisk(disk *armcompute.Disk) string {
	if ce := tags(disk.Tags).ce(); ce != "" {
		return ce
	}
	if m := bootDisk.FindStringSubmatch(text(disk.Name)); m != nil {
		return m[1]
	}
	return ""
}

// unfinishedCopy gives the CE of an output disk that has its name but is not
// complete. One that is complete is nobody's but its owner's.
func unfinishedCopy(disk *armcompute.Disk) string {
	ce := tags(disk.Tags).get(tagKept)
	if !seed.ValidName(ce) || disk.Properties == nil || text(disk.Properties.ProvisioningState) == stateSucceeded {
		return ""
	}
	return ce
}

// diskParts gives the disks of a group for which ceOf knows a CE.
func (d *Driver) diskParts(ctx context.Context, group string, ceOf func(*armcompute.Disk) string) ([]part, error) {
	var all []part
	for pager := d.disks.NewListByResourceGroupPager(group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if missing(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, disk := range page.Value {
			if disk == nil {
				continue
			}
			ce := ceOf(disk)
			if ce == "" {
				continue
			}
			p := part{ce: ce, id: text(disk.ID), tags: tags(disk.Tags), attached: disk.ManagedBy != nil}
			if disk.Properties != nil && disk.Properties.TimeCreated != nil {
				p.created = disk.Properties.TimeCreated.UTC()
			}
			name := text(disk.Name)
			p.remove = func(ctx context.Context) error { return d.deleteDisk(ctx, group, name) }
			all = append(all, p)
		}
	}
	return all, nil
}

// deleteDisk deletes a disk. That there is none is a success. One that is being
// written to by an upload is given up first.
func (d *Driver) deleteDisk(ctx context.Context, group, name string) error {
	res, err := d.disks.Get(ctx, group, name, nil)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if p := res.Properties; p != nil && p.DiskState != nil && *p.DiskState == armcompute.DiskStateActiveUpload {
		if err := d.revoke(ctx, group, name); err != nil {
			return err
		}
	}
	_, err = perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.DisksClientDeleteResponse], error) {
		return d.disks.BeginDelete(ctx, group, name, nil)
	})
	if missing(err) {
		return nil
	}
	return err
}

// networkVersion is the version of the API for network interfaces. The SDK for
// networks is as big as all of imageport, for two calls.
const networkVersion = "2023-11-01"

func (d *Driver) nicParts(ctx context.Context) ([]part, error) {
	var all []part
	next := d.nicURL("") + "?api-version=" + networkVersion
	for next != "" {
		var page struct {
			Value []struct {
				ID, Name   string
				Tags       map[string]*string
				Properties struct{ VirtualMachine *struct{ ID string } }
			}
			NextLink string
		}
		err := d.get(ctx, next, &page)
		if missing(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, nic := range page.Value {
			ce := tags(nic.Tags).ce()
			if ce == "" {
				continue
			}
			name := nic.Name
			all = append(all, part{
				ce: ce, id: nic.ID, tags: tags(nic.Tags), attached: nic.Properties.VirtualMachine != nil,
				remove: func(ctx context.Context) error { return d.deleteNIC(ctx, name) },
			})
		}
		next = page.NextLink
	}
	return all, nil
}

func (d *Driver) nicURL(name string) string {
	u := d.manager.Endpoint() + "/subscriptions/" + d.subscription + "/resourceGroups/" + url.PathEscape(d.group) + "/providers/Microsoft.Network/networkInterfaces"
	if name != "" {
		u += "/" + url.PathEscape(name)
	}
	return u
}

func (d *Driver) deleteNIC(ctx context.Context, name string) error {
	_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[struct{}], error) {
		req, err := runtime.NewRequest(ctx, http.MethodDelete, d.nicURL(name)+"?api-version="+networkVersion)
		if err != nil {
			return nil, err
		}
		resp, err := d.manager.Pipeline().Do(req)
		if err != nil {
			return nil, err
		}
		if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusAccepted, http.StatusNoContent) {
			return nil, runtime.NewResponseError(resp)
		}
		return runtime.NewPoller[struct{}](resp, d.manager.Pipeline(), nil)
	})
	if missing(err) {
		return nil
	}
	return err
}

// get reads what a URL of the resource manager gives.
func (d *Driver) get(ctx context.Context, url string, into any) error {
	req, err := runtime.NewRequest(ctx, http.MethodGet, url)
	if err != nil {
		return err
	}
	resp, err := d.manager.Pipeline().Do(req)
	if err != nil {
		return err
	}
	if !runtime.HasStatusCode(resp, http.StatusOK) {
		return runtime.NewResponseError(resp)
	}
	b, err := runtime.Payload(resp)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("the answer of %s: %w", url, err)
	}
	return nil
}
