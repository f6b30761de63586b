package azure

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/job"
	"imageport/platforms"
)

// KeepOutputDisk implements platforms.OutputDisks. For as long as Azure copies
// the disk there are two of them.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	found := false
	err := d.withCE(ctx, ce, func(v *vm) (bool, error) {
		found = true
		w, err := d.diskOf(ce, name)
		if err != nil {
			return false, err
		}
		return d.keepOutputDisk(ctx, v, w)
	})
	if err == nil && !found {
		err = errGone()
	}
	return d.fail("keep output disk of", ce, err)
}

// keepOutputDisk takes the disk a step closer to being complete.
func (d *Driver) keepOutputDisk(ctx context.Context, v *vm, w wantedDisk) (kept bool, err error) {
	own, err := d.awaitDisk(ctx, d.group, w.temporary)
	if err != nil {
		return false, err
	}
	final, err := d.awaitDisk(ctx, w.group, w.name)
	if err != nil {
		return false, err
	}
	source := d.id(d.group, "disks", w.temporary)
	mine := final != nil && tags(final.Tags).get(tagKept) == v.name && isCopy(final, source)
	complete := mine && text(final.Properties.ProvisioningState) == stateSucceeded
	switch {
	case own == nil && complete:
		return true, nil
	case own == nil:
		return false, platforms.Errorf(platforms.NotFound, "the CE has no output disk %s", w.name)
	case final != nil && !mine:
		return false, platforms.Errorf(platforms.Foreign, "there is a disk %s; the output is still %s", text(final.ID), text(own.ID))
	case complete:
		if err := d.deleteDisk(ctx, d.group, w.temporary); err != nil {
			return false, fmt.Errorf("delete what it was copied from: %w", err)
		}
		return true, nil
	}
	if _, attached := v.disk(text(own.ID)); attached {
		return false, d.detach(ctx, v, own)
	}
	if final != nil { // an earlier copy failed
		return false, d.deleteDisk(ctx, w.group, w.name)
	}
	return false, d.copy(ctx, own, w)
}

func isCopy(disk *armcompute.Disk, source string) bool {
	data := disk.Properties.CreationData
	return data != nil && strings.EqualFold(text(data.SourceResourceID), source)
}

// detach takes the disk from the CE. What was written is on it: it has no cache
// on the host.
func (d *Driver) detach(ctx context.Context, v *vm, disk *armcompute.Disk) error {
	err := d.changeDisks(ctx, v.name, armcompute.AttachDetachDataDisksRequest{DataDisksToDetach: []*armcompute.DataDisksToDetach{{DiskID: disk.ID}}})
	if kindOf(err) == platforms.BadRequest {
		// Azure knows no such disk of the VM if another call was faster.
		err = contended(err)
	}
	if err != nil {
		return fmt.Errorf("detach %s: %w", text(disk.ID), err)
	}
	return nil
}

// generation is that of the VMs that can start from what is on the disk: the
// second has UEFI, the first a BIOS. Nil leaves it to Azure.
func generation(own *armcompute.Disk) *armcompute.HyperVGeneration {
	switch job.Firmware(tags(own.Tags).get(tagFirmware)) {
	case job.UEFI:
		return to.Ptr(armcompute.HyperVGenerationV2)
	case job.BIOS:
		return to.Ptr(armcompute.HyperVGenerationV1)
	}
	return nil
}

// copy makes the disk under its final name. Azure does not change what a disk is
// made from: a name that somebody takes at this moment is refused.
func (d *Driver) copy(ctx context.Context, own *armcompute.Disk, w wantedDisk) error {
	t := tags{}
	for _, name := range []string{tagJob, tagRun, tagOwner} {
		t.put(name, tags(own.Tags).get(name))
	}
	t.put(tagKept, tags(own.Tags).ce())
	// The header is not among those that Azure documents for disks. Where it is
	// known, it says the same.
	lock := policy.WithHTTPHeader(ctx, http.Header{"If-None-Match": {"*"}})
	_, err := d.putDisk(lock, w.group, w.name, armcompute.Disk{
		Location: &d.region, Tags: t, SKU: d.sku(),
		Properties: &armcompute.DiskProperties{
			CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: own.ID},
			OSType:       to.Ptr(armcompute.OperatingSystemTypesWindows), HyperVGeneration: generation(own),
		},
	})
	if codeOf(err) == "PropertyChangeNotAllowed" || missing(err) {
		err = contended(err) // others were faster: what they have made is looked at
	}
	if err != nil {
		return fmt.Errorf("copy it as %s: %w", w.name, err)
	}
	return nil
}
