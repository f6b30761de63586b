package vsphere

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/patience"
)

const (
	mib = 1 << 20
	// maxDiskBytes is what vSphere makes at most.
	maxDiskBytes = 62 << 40
	// minFree is what must be free for a disk that is allocated as it is written
	// to. How much that will be is not known yet.
	minFree = 64 * mib
)

// wantedDisk is an output disk, checked as far as that needs no other call.
type wantedDisk struct {
	platforms.OutputDisk
	diskName
}

func (s *site) wantDisk(o platforms.OutputDisk) (wantedDisk, error) {
	refuse := func(format string, args ...any) (wantedDisk, error) {
		return wantedDisk{}, platforms.Errorf(platforms.BadRequest, "output disk %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	n, err := s.parseDiskName(o.Name)
	if err != nil {
		return wantedDisk{}, err
	}
	if o.Provision == "" {
		o.Provision = job.ProvisionThin
	}
	switch {
	case o.Format != "" && o.Format != platforms.VMDK:
		return refuse("format %q: vSphere has VMDK only", o.Format)
	case o.SizeBytes <= 0 || o.SizeBytes%mib != 0 || o.SizeBytes > maxDiskBytes:
		return refuse("%d bytes: want a multiple of 1 MiB up to %d TiB", o.SizeBytes, maxDiskBytes>>40)
	case o.Provision != job.ProvisionThin && o.Provision != job.ProvisionThick && o.Provision != job.ProvisionEagerZeroed:
		return refuse("provision type %q: want %s, %s or %s", o.Provision, job.ProvisionThin, job.ProvisionThick, job.ProvisionEagerZeroed)
	case n.dir() == "" && !topDirectories(n.datastore):
		return refuse("datastore %s has disks in directories only", n.datastore.name)
	}
	mounted := get[types.ArrayOfManagedObjectReference](s.compute.properties, "datastore").ManagedObjectReference
	if !slices.Contains(mounted, n.datastore.ref) {
		return refuse("%s, where the CE runs, has no access to the datastore %s", s.compute.name, n.datastore.name)
	}
	return wantedDisk{OutputDisk: o, diskName: n}, nil
}

// topDirectories reports whether directories can be made at the top of the
// datastore as anywhere else: not with vSAN, nor with vVols.
func topDirectories(datastore *entity) bool {
	c, ok := datastore.properties["capability"].(types.DatastoreCapability)
	return !ok || c.TopLevelDirectoryCreateSupported == nil || *c.TopLevelDirectoryCreateSupported
}

// CheckOutputDisk implements platforms.OutputDisks. It compares the size with
// the datastore's free space where all of the disk is allocated at once.
func (d *Driver) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	s, err := d.site(ctx)
	if err != nil {
		return d.fail("check output disk", disk.Name, err)
	}
	want, err := s.wantDisk(disk)
	if err == nil {
		err = want.checkSpace()
	}
	if err == nil {
		err = d.checkPrivileges(ctx, s, want.datastore, forOutputDisk)
	}
	if err == nil {
		err = d.vacant(ctx, want.diskName)
	}
	return d.fail("check output disk", disk.Name, err)
}

func (w wantedDisk) checkSpace() error {
	summary := get[types.DatastoreSummary](w.datastore.properties, "summary")
	if !summary.Accessible {
		return platforms.Errorf(platforms.Busy, "datastore %s is not accessible", w.datastore.name)
	}
	if info, ok := w.datastore.properties["info"].(types.BaseDatastoreInfo); ok {
		if most := info.GetDatastoreInfo().MaxVirtualDiskCapacity; most > 0 && w.SizeBytes > most {
			return platforms.Errorf(platforms.BadRequest, "datastore %s has disks of %d MiB at most, this one has %d MiB", w.datastore.name, most/mib, w.SizeBytes/mib)
		}
	}
	need := w.SizeBytes
	if w.Provision == job.ProvisionThin {
		need = minFree
	}
	if summary.FreeSpace < need {
		return platforms.Errorf(platforms.Full, "datastore %s has %d MiB free, a disk of %d MiB (%s) needs %d MiB",
			w.datastore.name, summary.FreeSpace/mib, w.SizeBytes/mib, w.Provision, need/mib)
	}
	return nil
}

// vacant refuses a name that is taken, also by what is left of another disk.
func (d *Driver) vacant(ctx context.Context, n diskName) error {
	there, err := d.files(ctx, n, n.base(), n.flat())
	if err != nil || len(there) == 0 {
		return err
	}
	return platforms.Errorf(platforms.Foreign, "output disk %s: there is a file %s", n, strings.Join(there, " and a file "))
}

// files gives which of these files are in the directory of the disk.
func (d *Driver) files(ctx context.Context, n diskName, names ...string) ([]string, error) {
	p, err := d.read(ctx, n.datastore.ref, "browser")
	if err != nil {
		return nil, err
	}
	browser := object.NewHostDatastoreBrowser(d.client, get[types.ManagedObjectReference](p, "browser"))
	info, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) {
		return browser.SearchDatastore(ctx, datastorePath(n.datastore, n.dir()), &types.HostDatastoreBrowserSearchSpec{MatchPattern: names})
	})
	if _, ok := faultOf(err).(*types.FileNotFound); ok {
		return nil, nil // not even the directory
	}
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", datastorePath(n.datastore, n.dir()), err)
	}
	var there []string
	if found, ok := info.Result.(types.HostDatastoreBrowserSearchResults); ok {
		for _, f := range found.File {
			if name := path.Base(f.GetFileInfo().Path); slices.Contains(names, name) {
				there = append(there, name)
			}
		}
	}
	slices.Sort(there)
	return there, nil
}

// AddOutputDisk implements platforms.OutputDisks. The disk and its record are
// made by one task: there is no disk that no CE knows of.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, o platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	var ref platforms.OutputDiskRef
	found := false
	err := d.withCE(ctx, ce, func(s *site, v *vm) (bool, error) {
		found = true
		want, err := s.wantDisk(o)
		if err != nil {
			return false, err
		}
		ref, err = d.addOutputDisk(ctx, s, v, want)
		return ref.Selector != "", err
	})
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	if err != nil {
		return platforms.OutputDiskRef{}, d.fail("add output disk to", ce, err)
	}
	return ref, nil
}

// addOutputDisk takes the CE a step closer to having the disk. It gives the disk
// when it has it.
func (d *Driver) addOutputDisk(ctx context.Context, s *site, v *vm, want wantedDisk) (ref platforms.OutputDiskRef, err error) {
	partial := want.partial(v.name)
	r, known, err := v.record(want.diskName)
	switch {
	case err != nil:
		return ref, err
	case v.extra[keyEnding] != "":
		return ref, platforms.Errorf(platforms.Busy, "the CE is being removed")
	case known && r.State != stateAttached:
		return ref, platforms.Errorf(platforms.BadRequest, "output disk %s was kept already", want)
	case known && (r.SizeBytes != want.SizeBytes || r.Provision != want.Provision):
		return ref, platforms.Errorf(platforms.BadRequest, "output disk %s: the CE has one of %d bytes (%s), want %d bytes (%s)",
			want, r.SizeBytes, r.Provision, want.SizeBytes, want.Provision)
	case v.power != types.VirtualMachinePowerStatePoweredOn:
		return ref, platforms.Errorf(platforms.Busy, "the CE does not run")
	}
	if _, ok := v.disk(partial.String()); ok {
		serial, err := d.serial(ctx, s, v, partial)
		return platforms.OutputDiskRef{Selector: platforms.BySerial(serial), Ref: partial.String()}, err
	}
	if known {
		return ref, platforms.Errorf(platforms.NotFound, "output disk %s: somebody detached it from the CE", partial)
	}
	if err := d.vacant(ctx, want.diskName); err != nil {
		return ref, err
	}
	if err := d.makeDirectory(ctx, s, want.diskName); err != nil {
		return ref, fmt.Errorf("make its directory: %w", err)
	}
	return ref, d.attach(ctx, s, v, want, partial)
}

// serial gives the serial number of a disk that is attached. Another call may
// have made it visible and not be done with it: then others are in the way.
func (d *Driver) serial(ctx context.Context, s *site, v *vm, partial diskName) (string, error) {
	if busy, err := d.busy(ctx, v, "ReconfigVM_Task"); err != nil {
		return "", err
	} else if busy {
		return "", fmt.Errorf("%s is being attached: %w", partial, patience.ErrContended)
	}
	now, err := d.lookCE(ctx, s, v.name)
	if err != nil {
		return "", err
	}
	if now == nil {
		return "", fmt.Errorf("the CE is gone: %w", patience.ErrContended)
	}
	disk, ok := now.disk(partial.String())
	switch {
	case !ok:
		return "", fmt.Errorf("%s is being detached: %w", partial, patience.ErrContended)
	case disk.uuid == "":
		return "", platforms.Errorf(platforms.Internal, "the vCenter gives no UUID for %s: the CE could not find it", partial)
	}
	return strings.ToLower(strings.ReplaceAll(disk.uuid, "-", "")), nil
}

// attach makes the disk as one of the CE's, and records it.
func (d *Driver) attach(ctx context.Context, s *site, v *vm, want wantedDisk, partial diskName) error {
	spec, err := v.diskSpec(want, partial)
	if err != nil {
		return err
	}
	err = d.reconfigure(ctx, v, spec)
	if _, ok := faultOf(err).(*types.FileAlreadyExists); ok {
		return d.clear(ctx, s, v, partial)
	}
	if err != nil {
		return fmt.Errorf("make and attach %s: %w", partial, err)
	}
	return nil
}

// clear removes a file that has the name of a disk of the CE, and is none that
// the CE knows of: a task that failed has left it. Another call that is just at
// making it is left alone.
func (d *Driver) clear(ctx context.Context, s *site, v *vm, partial diskName) error {
	now, err := d.lookCE(ctx, s, v.name)
	if err != nil || now == nil {
		return err
	}
	if _, attached := now.disk(partial.String()); attached {
		return nil
	}
	if busy, err := d.busy(ctx, now, ""); err != nil {
		return err
	} else if busy {
		return fmt.Errorf("%s is being made: %w", partial, patience.ErrContended)
	}
	if err := d.deleteDisk(ctx, s, partial.String()); err != nil {
		return fmt.Errorf("delete what is left of %s: %w", partial, err)
	}
	return fmt.Errorf("something was left of %s: %w", partial, patience.ErrContended)
}

// diskSpec gives the change that makes the disk, attaches and records it.
func (v *vm) diskSpec(want wantedDisk, partial diskName) (types.VirtualMachineConfigSpec, error) {
	var spec types.VirtualMachineConfigSpec
	controller, err := v.controller()
	if err != nil {
		return spec, err
	}
	if controller.added != nil {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: controller.added,
		})
	}
	spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
		Operation:     types.VirtualDeviceConfigSpecOperationAdd,
		FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
		Device: &types.VirtualDisk{
			VirtualDevice: types.VirtualDevice{
				Key: -2, ControllerKey: controller.key, UnitNumber: types.NewInt32(controller.unit),
				Backing: &types.VirtualDiskFlatVer2BackingInfo{
					VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: partial.String(), Datastore: &partial.datastore.ref},
					// A snapshot of the CE, as tools for backup make them of all VMs
					// that they see, is not to become a part of the disk.
					DiskMode:        string(types.VirtualDiskModeIndependent_persistent),
					ThinProvisioned: types.NewBool(want.Provision == job.ProvisionThin),
					EagerlyScrub:    types.NewBool(want.Provision == job.ProvisionEagerZeroed),
				},
			},
			CapacityInKB: want.SizeBytes / 1024, CapacityInBytes: want.SizeBytes,
		},
	})
	spec.ExtraConfig, err = settings(record{Name: want.diskName.String(), Partial: partial.String(), SizeBytes: want.SizeBytes, Provision: want.Provision})
	return spec, err
}

// makeDirectory makes the directory of the disk, with all above it.
func (d *Driver) makeDirectory(ctx context.Context, s *site, n diskName) error {
	dir := n.dir()
	if dir == "" {
		return nil
	}
	top, rest, _ := strings.Cut(dir, "/")
	if !topDirectories(n.datastore) {
		// A directory at the top is an object of its own there.
		ds := object.NewDatastore(d.client, n.datastore.ref)
		_, err := object.NewDatastoreNamespaceManager(d.client).CreateDirectory(ctx, ds, top, "")
		if _, exists := faultOf(err).(*types.FileAlreadyExists); err != nil && !exists {
			return err
		}
		if rest == "" {
			return nil
		}
	}
	if parent := (diskName{n.datastore, dir}); topDirectories(n.datastore) || rest != "" {
		if there, err := d.files(ctx, parent, path.Base(dir)); err != nil || len(there) > 0 {
			return err
		}
	}
	err := object.NewFileManager(d.client).MakeDirectory(ctx, datastorePath(n.datastore, dir), object.NewDatacenter(d.client, s.datacenter.ref), true)
	if _, exists := faultOf(err).(*types.FileAlreadyExists); exists {
		return nil
	}
	return err
}
