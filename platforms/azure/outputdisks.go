package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/job"
	"imageport/platforms"
)

const (
	gib = 1 << 30
	// maxDiskBytes is what Azure makes at most.
	maxDiskBytes = 32767 * gib
	// firstLUN is the first one that no disk of Azure's own has on any
	// controller. maxLUN is the last one that there is.
	firstLUN, maxLUN = 2, 63
)

// wantedDisk is an output disk, checked as far as that needs no call.
type wantedDisk struct {
	group, name string // what it is to become
	temporary   string // its name until then, in the CEs' group
	sizeGB      int32
	firmware    job.Firmware
}

// reserved are the names that are the CEs' and their disks'.
var reserved = regexp.MustCompile(`(?i)^ce-[0-9a-f]{12}(-|$)`)

// output is what tagOutput says.
func (w wantedDisk) output() string { return w.group + "/" + w.name }

// diskOf gives the names of an output disk of a CE.
func (d *Driver) diskOf(ce, name string) (wantedDisk, error) {
	w := wantedDisk{group: d.target, name: name}
	switch {
	case !namePattern.MatchString(name):
		return w, platforms.Errorf(platforms.BadRequest, "output disk %.100q: want 1 to 80 letters, digits, dots, hyphens and underscores, with a letter or a digit first and no dot or hyphen at the end", name)
	case reserved.MatchString(name):
		return w, platforms.Errorf(platforms.BadRequest, "output disk %q: such names are those of Compositing Engines", name)
	}
	// Azure does not tell names apart by case.
	sum := sha256.Sum256([]byte(strings.ToLower(w.output())))
	w.temporary = ce + "-out-" + hex.EncodeToString(sum[:8])
	return w, nil
}

func (d *Driver) wantDisk(ce string, o platforms.OutputDisk) (wantedDisk, error) {
	w, err := d.diskOf(ce, o.Name)
	if err != nil {
		return w, err
	}
	refuse := func(format string, args ...any) (wantedDisk, error) {
		return w, platforms.Errorf(platforms.BadRequest, "output disk %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case o.Format != "":
		return refuse("format %q: a managed disk has none", o.Format)
	case o.SizeBytes <= 0 || o.SizeBytes%gib != 0 || o.SizeBytes > maxDiskBytes:
		return refuse("%d bytes: Azure has disks of whole GiB, up to %d", o.SizeBytes, maxDiskBytes/gib)
	case o.Provision != "" && o.Provision != job.ProvisionThin:
		return refuse("provision type %q: Azure allocates what is written, and bills the whole size: want %s", o.Provision, job.ProvisionThin)
	}
	w.sizeGB, w.firmware = int32(o.SizeBytes/gib), o.Firmware
	return w, nil
}

// CheckOutputDisk implements platforms.OutputDisks.
func (d *Driver) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	w, err := d.wantDisk("", disk)
	if err == nil {
		err = d.vacant(ctx, w)
	}
	if err == nil {
		err = d.checkActions(ctx, forOutputDisk)
	}
	return d.fail("check output disk", disk.Name, err)
}

// vacant refuses a name that is taken, and a group that is not there.
func (d *Driver) vacant(ctx context.Context, w wantedDisk) error {
	final, err := d.disk(ctx, w.group, w.name)
	if err == nil && final != nil {
		err = platforms.Errorf(platforms.Foreign, "there is a disk %s", text(final.ID))
	}
	return err
}

// disk gives the disk of that name, or nil. That its group is not there is an
// error.
func (d *Driver) disk(ctx context.Context, group, name string) (*armcompute.Disk, error) {
	res, err := d.disks.Get(ctx, group, name, nil)
	if missing(err) && codeOf(err) != "ResourceGroupNotFound" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if res.Properties == nil {
		res.Properties = &armcompute.DiskProperties{}
	}
	return &res.Disk, nil
}

// awaitDisk gives the disk of that name when nothing is under way with it, or nil.
func (d *Driver) awaitDisk(ctx context.Context, group, name string) (*armcompute.Disk, error) {
	for pause := d.pauses; ; {
		disk, err := d.disk(ctx, group, name)
		if err != nil || disk == nil || !underWay(text(disk.Properties.ProvisioningState)) {
			return disk, err
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// AddOutputDisk implements platforms.OutputDisks.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, o platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	var ref platforms.OutputDiskRef
	found := false
	err := d.withCE(ctx, ce, func(v *vm) (bool, error) {
		found = true
		w, err := d.wantDisk(ce, o)
		if err != nil {
			return false, err
		}
		ref, err = d.addOutputDisk(ctx, v, w)
		return ref.Selector != "", err
	})
	if err == nil && !found {
		err = errGone()
	}
	if err != nil {
		return platforms.OutputDiskRef{}, d.fail("add output disk to", ce, err)
	}
	return ref, nil
}

// addOutputDisk takes the CE a step closer to having the disk. It gives the disk
// when it has it.
func (d *Driver) addOutputDisk(ctx context.Context, v *vm, w wantedDisk) (ref platforms.OutputDiskRef, err error) {
	if !v.running() {
		return ref, platforms.Errorf(platforms.Busy, "the CE does not run")
	}
	disk, err := d.awaitDisk(ctx, d.group, w.temporary)
	switch {
	case err != nil:
		return ref, err
	case disk == nil:
		return ref, d.makeDisk(ctx, v, w)
	}
	t, p := tags(disk.Tags), disk.Properties
	attached, has := v.disk(text(disk.ID))
	switch {
	case t.ce() != v.name || !strings.EqualFold(t.get(tagOutput), w.output()):
		return ref, platforms.Errorf(platforms.Foreign, "there is a disk %s that is not the CE's", text(disk.ID))
	case p.DiskSizeGB == nil || *p.DiskSizeGB != w.sizeGB:
		return ref, platforms.Errorf(platforms.BadRequest, "output disk %s: the CE has one of another size, want %d GiB", w.name, w.sizeGB)
	case has:
		// Nobody else is at work on the VM, so that it has it for good.
		return platforms.OutputDiskRef{Selector: platforms.ByLUN(uint64(attached.lun)), Ref: text(disk.ID)}, nil
	case text(p.ProvisioningState) == stateFailed:
		return ref, d.deleteDisk(ctx, d.group, w.temporary)
	case disk.ManagedBy != nil && !strings.EqualFold(*disk.ManagedBy, v.id):
		return ref, platforms.Errorf(platforms.Foreign, "output disk %s: somebody attached it to %s", text(disk.ID), *disk.ManagedBy)
	}
	if err := d.vacant(ctx, w); err != nil {
		return ref, err
	}
	return ref, d.attach(ctx, v, disk)
}

// makeDisk makes the empty disk of a CE, which goes with that. What can be refused
// is refused before.
func (d *Driver) makeDisk(ctx context.Context, v *vm, w wantedDisk) error {
	final, err := d.disk(ctx, w.group, w.name)
	if err != nil {
		return err
	}
	if final != nil && tags(final.Tags).get(tagKept) == v.name {
		return platforms.Errorf(platforms.BadRequest, "output disk %s was kept already", text(final.ID))
	}
	if final != nil {
		return platforms.Errorf(platforms.Foreign, "there is a disk %s", text(final.ID))
	}
	t := tags{}
	for name, value := range v.tags {
		if strings.HasPrefix(strings.ToLower(name), "imageport-") {
			t[name] = value
		}
	}
	t.put(tagOutput, w.output())
	t.put(tagFirmware, string(w.firmware))
	_, err = d.putDisk(ctx, d.group, w.temporary, armcompute.Disk{
		Location: &d.region, Tags: t, SKU: d.sku(),
		Properties: &armcompute.DiskProperties{
			CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)},
			DiskSizeGB:   &w.sizeGB,
			// Nobody is to read it but those who have the VM.
			NetworkAccessPolicy: to.Ptr(armcompute.NetworkAccessPolicyDenyAll), PublicNetworkAccess: to.Ptr(armcompute.PublicNetworkAccessDisabled),
		},
	})
	if err != nil {
		return fmt.Errorf("make the disk: %w", err)
	}
	return nil
}

func (d *Driver) sku() *armcompute.DiskSKU {
	return &armcompute.DiskSKU{Name: to.Ptr(armcompute.DiskStorageAccountTypes(d.p.cfg.DiskType))}
}

func (d *Driver) putDisk(ctx context.Context, group, name string, disk armcompute.Disk) (armcompute.DisksClientCreateOrUpdateResponse, error) {
	return perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.DisksClientCreateOrUpdateResponse], error) {
		return d.disks.BeginCreateOrUpdate(ctx, group, name, disk, nil)
	})
}

// attach attaches the disk. Others may attach theirs at the same time: this call
// names one disk only, and its LUN is refused if it is taken.
func (d *Driver) attach(ctx context.Context, v *vm, disk *armcompute.Disk) error {
	lun, err := v.freeLUN(text(disk.Properties.UniqueID))
	if err != nil {
		return err
	}
	err = d.changeDisks(ctx, v.name, armcompute.AttachDetachDataDisksRequest{DataDisksToAttach: []*armcompute.DataDisksToAttach{{
		DiskID: disk.ID, Lun: &lun, Caching: to.Ptr(armcompute.CachingTypesNone), DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete),
	}}})
	if err != nil {
		return fmt.Errorf("attach %s at LUN %d: %w", text(disk.ID), lun, err)
	}
	return nil
}

func (d *Driver) changeDisks(ctx context.Context, name string, change armcompute.AttachDetachDataDisksRequest) error {
	_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.VirtualMachinesClientAttachDetachDataDisksResponse], error) {
		return d.vms.BeginAttachDetachDataDisks(ctx, d.group, name, change, nil)
	})
	return err
}

// freeLUN gives the LUN for a disk. It comes of the disk's unique id: that of
// another one, of a CE that was made anew, is most probably another LUN, so that
// nobody takes one for the other.
func (v *vm) freeLUN(uniqueID string) (int32, error) {
	head, _, _ := strings.Cut(uniqueID, "-")
	seed, err := strconv.ParseUint(head, 16, 64)
	if err != nil {
		return 0, platforms.Errorf(platforms.Internal, "a disk has the unique id %q", uniqueID)
	}
	taken := make(map[int32]bool)
	for _, disk := range v.disks {
		taken[disk.lun] = true
	}
	const luns = maxLUN - firstLUN + 1
	for i := range uint64(luns) {
		if lun := firstLUN + int32((seed%luns+i)%luns); !taken[lun] {
			return lun, nil
		}
	}
	return 0, platforms.Errorf(platforms.BadRequest, "the CE has %d disks, and no LUN for another", len(v.disks))
}
