package xenserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

const (
	maxNameChars = 200
	// maxVHDBytes is the size of the largest VDI that is kept as a VHD, as those
	// of almost all SRs are; maxQCOWBytes of one of a GFS2 SR.
	maxVHDBytes, maxQCOWBytes = 2040 << 30, 16 << 40
	// minFree is what must be free for a disk that is allocated as it is written
	// to. How much that will be is not known yet.
	minFree = 64 * mib
)

// checkDisk refuses what no SR of that kind can have.
func checkDisk(o platforms.OutputDisk, sr *repository) error {
	refuse := func(format string, args ...any) error {
		return platforms.Errorf(platforms.BadRequest, "output disk %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	if err := checkName(o.Name); err != nil {
		return refuse("%s", err)
	}
	most := int64(maxVHDBytes)
	if sr.Type == "gfs2" {
		most = maxQCOWBytes
	}
	switch {
	case o.Format != "":
		return refuse("format %q: a VDI has the format of its SR, and no other", o.Format)
	case o.SizeBytes <= 0 || o.SizeBytes%mib != 0:
		return refuse("%d bytes: want a multiple of 1 MiB", o.SizeBytes)
	case o.SizeBytes > most:
		return refuse("%d GiB: a VDI of an SR of type %s has at most %d GiB", o.SizeBytes>>30, sr.Type, most>>30)
	case o.Provision != "" && o.Provision != job.ProvisionThin:
		return refuse("provision type %q: how a VDI is allocated is a property of its SR; want %s, which stands for that", o.Provision, job.ProvisionThin)
	}
	return nil
}

// checkName refuses what is not fit to be the name of a VDI that people look for.
func checkName(name string) error {
	switch {
	case name == "" || utf8.RuneCountInString(name) > maxNameChars:
		return fmt.Errorf("a name has 1 to %d characters", maxNameChars)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("a name has printable characters only")
	case name != strings.TrimSpace(name):
		return fmt.Errorf("a name has no space before or after it")
	}
	return nil
}

// partialName is what a disk is called as long as it is the CE's.
func partialName(name, ce string) string { return name + " (incomplete, " + ce + ")" }

// CheckOutputDisk implements platforms.OutputDisks. It compares the size with the
// SR's free space where all of a VDI is allocated at once.
func (d *Driver) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	return d.fail("check output disk", disk.Name, d.checkOutputDisk(ctx, disk))
}

func (d *Driver) checkOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	sr, err := d.repository(ctx)
	if err != nil {
		return err
	}
	if err := checkDisk(disk, sr); err != nil {
		return err
	}
	if err := d.checkPermissions(ctx, forCE, forOutputDisk); err != nil {
		return err
	}
	if err := sr.hasRoom(disk.SizeBytes, "a disk"); err != nil {
		return err
	}
	return d.vacant(ctx, sr.ref, disk.Name, "")
}

// hasRoom refuses a VDI that the SR has no space for.
func (sr *repository) hasRoom(size int64, what string) error {
	need, how := size, "which is allocated at once"
	if !sr.thick() {
		need, how = min(size, minFree), "which grows as it is written to"
	}
	if free := sr.Size - sr.Used; free < need {
		return platforms.Errorf(platforms.Full, "SR %s (%s) has %d MiB free, %s of %d MiB, %s, needs %d MiB",
			sr.Name, sr.UUID, max(0, free)/mib, what, size/mib, how, need/mib)
	}
	return nil
}

// thick reports whether the SR allocates all of a VDI when it makes it: volumes of
// LVM are, files are not.
func (sr *repository) thick() bool {
	return strings.HasPrefix(sr.Type, "lvm") || sr.Type == "largeblock"
}

// vacant refuses the name of a VDI in the SR, unless it is that of the disk itself.
// Two of one name are possible, but nobody would know which is which.
func (d *Driver) vacant(ctx context.Context, sr xapi.Ref, name, itself string) error {
	named, err := d.namedVDIs(ctx, sr, name)
	for _, v := range named {
		if v.UUID != itself {
			return platforms.Errorf(platforms.Foreign, "output disk %q: there is a VDI of that name (%s) in the same SR", name, v.UUID)
		}
	}
	return err
}

// AddOutputDisk implements platforms.OutputDisks.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, o platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	var ref platforms.OutputDiskRef
	found, err := d.withCE(ctx, ce, func(v *vm) (bool, error) {
		sr, err := d.repository(ctx)
		if err == nil {
			err = checkDisk(o, sr)
		}
		if err != nil {
			return false, err
		}
		ref, err = d.addOutputDisk(ctx, sr, v, o)
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
func (d *Driver) addOutputDisk(ctx context.Context, sr *repository, v *vm, o platforms.OutputDisk) (ref platforms.OutputDiskRef, err error) {
	claims, err := v.Marks.claims()
	if err != nil {
		return ref, err
	}
	at := slices.IndexFunc(claims, func(c claim) bool { return c.Name == o.Name })
	switch {
	case !v.elected():
		return ref, platforms.Errorf(platforms.Busy, "the CE is being made or removed")
	case at < 0 && v.Power != running:
		return ref, platforms.Errorf(platforms.Busy, "the CE does not run")
	case at < 0:
		return ref, d.claimDisk(ctx, sr, v, claims, o)
	}
	c := claims[at]
	if c.SizeBytes != o.SizeBytes {
		return ref, platforms.Errorf(platforms.BadRequest, "output disk %q: the CE has one of %d bytes, want %d", o.Name, c.SizeBytes, o.SizeBytes)
	}
	disk, err := d.findVDI(ctx, c.VDI)
	switch {
	case err != nil:
		return ref, err
	case disk == nil:
		return ref, platforms.Errorf(platforms.NotFound, "output disk %q: somebody removed its VDI %s", o.Name, c.VDI)
	case disk.Marks[keyKept] != "" || disk.Name == o.Name:
		return ref, platforms.Errorf(platforms.BadRequest, "output disk %q was kept already", o.Name)
	case v.Power != running:
		return ref, platforms.Errorf(platforms.Busy, "the CE does not run")
	}
	attached, err := d.plug(ctx, v, c, disk)
	if err == nil && attached {
		err = d.dropUnclaimed(ctx, sr.ref, v, c)
	}
	if err != nil || !attached {
		return ref, err
	}
	return platforms.OutputDiskRef{Selector: platforms.ByXen(vbdNumber(c.device)), Ref: fmt.Sprintf("%s (%s)", disk.Name, disk.UUID)}, nil
}

// claimDisk makes a VDI, or takes one that was made before, and makes it the CE's
// disk of that name. If another caller is faster, its VDI is.
func (d *Driver) claimDisk(ctx context.Context, sr *repository, v *vm, claims []claim, o platforms.OutputDisk) error {
	if err := d.vacant(ctx, sr.ref, o.Name, ""); err != nil {
		return err
	}
	made, err := d.partials(ctx, sr.ref, v, o.Name)
	if err != nil {
		return err
	}
	if len(made) == 0 {
		m := v.Marks.of(v.UUID, roleOutput)
		if _, err := d.createVDI(ctx, sr, partialName(o.Name, v.Name), o.SizeBytes, m); err != nil {
			return fmt.Errorf("make the VDI: %w", err)
		}
		return nil
	}
	device, err := d.freeDevice(ctx, v, claims)
	if err != nil {
		return err
	}
	c := claim{Name: o.Name, VDI: made[0].UUID, SizeBytes: o.SizeBytes, device: device}
	text, err := c.text()
	if err != nil {
		return err
	}
	_, err = d.addMark(ctx, "VM", v.ref, c.key(), text)
	return err
}

// partials gives the VDIs that were made to be that disk of the VM.
func (d *Driver) partials(ctx context.Context, sr xapi.Ref, v *vm, name string) ([]*vdi, error) {
	named, err := d.namedVDIs(ctx, sr, partialName(name, v.Name))
	return slices.DeleteFunc(named, func(disk *vdi) bool {
		return !disk.of(v.Name) || disk.Marks[keyRole] != string(roleOutput) || disk.Marks[keyVM] != v.UUID
	}), err
}

// freeDevice gives the first device that never had a disk. As claims stay, callers
// who have seen more or less of them never take two devices for one disk.
func (d *Driver) freeDevice(ctx context.Context, v *vm, claims []claim) (int, error) {
	disks, err := d.vbds(ctx, v.VBDs)
	if err != nil {
		return 0, err
	}
	for device := firstDevice; device <= lastDevice; device++ {
		claimed := slices.ContainsFunc(claims, func(c claim) bool { return c.device == device })
		taken := slices.ContainsFunc(disks, func(b vbd) bool { return b.Device == strconv.Itoa(device) })
		if !claimed && !taken {
			return device, nil
		}
	}
	return 0, platforms.Errorf(platforms.BadRequest, "the CE has had %d disks, and can have no more", lastDevice-firstDevice+1)
}

// plug takes the VM a step closer to having the VDI attached, and reports whether
// it has.
func (d *Driver) plug(ctx context.Context, v *vm, c claim, disk *vdi) (attached bool, err error) {
	b, err := d.diskOf(ctx, v, disk.ref)
	switch {
	case err != nil:
		return false, err
	case b == nil:
		if err := d.createVBD(ctx, v, disk.ref, strconv.Itoa(c.device), false); err != nil {
			return false, fmt.Errorf("attach VDI %s: %w", c.VDI, err)
		}
		return false, nil
	case b.Device != strconv.Itoa(c.device):
		return false, platforms.Errorf(platforms.BadRequest, "output disk %q: somebody moved it to device %s of the CE, it belongs on %d", c.Name, b.Device, c.device)
	case b.Attached:
		return true, nil
	}
	if err := d.client.Run(ctx, "VBD.plug", b.ref); err != nil {
		return false, fmt.Errorf("attach VDI %s: %w", c.VDI, err)
	}
	return false, nil
}

// diskOf gives the VBD by which the VM has the VDI, nil if there is none.
func (d *Driver) diskOf(ctx context.Context, v *vm, disk xapi.Ref) (*vbd, error) {
	disks, err := d.vbds(ctx, v.VBDs)
	for _, b := range disks {
		if b.VDI == disk {
			return &b, err
		}
	}
	return nil, err
}

// dropUnclaimed removes the VDIs that other callers made to be this disk.
func (d *Driver) dropUnclaimed(ctx context.Context, sr xapi.Ref, v *vm, c claim) error {
	made, err := d.partials(ctx, sr, v, c.Name)
	if err != nil {
		return err
	}
	for _, disk := range made {
		if disk.UUID == c.VDI {
			continue
		}
		if err := d.destroyVDI(ctx, disk); err != nil {
			return err
		}
	}
	return nil
}
