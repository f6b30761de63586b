package vsphere

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
)

const (
	// maxVMName is what a vCenter takes, in characters.
	maxVMName = 80
	// An output VM is for its user to size; with this Windows starts.
	outputCPUs, outputMemoryMB = 2, 4096
)

// CheckOutputVM implements platforms.OutputVMs.
func (d *Driver) CheckOutputVM(ctx context.Context, o platforms.OutputVM) error {
	s, err := d.site(ctx)
	if err == nil {
		_, err = s.wantVM(o)
	}
	if err == nil {
		err = d.checkPrivileges(ctx, s, nil, forOutputVM)
	}
	if err == nil {
		err = d.patiently(ctx, func() (bool, error) {
			_, err := d.findOutputVM(ctx, s, o)
			return err == nil, err
		})
	}
	return d.fail("check output VM", o.Name, err)
}

// wantVM refuses what cannot be made, and gives where the disk is.
func (s *site) wantVM(o platforms.OutputVM) (diskName, error) {
	refuse := func(format string, args ...any) (diskName, error) {
		return diskName{}, platforms.Errorf(platforms.BadRequest, "output VM %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case o.Name == "" || len([]rune(o.Name)) > maxVMName || strings.ContainsFunc(o.Name, unicode.IsControl) || strings.ContainsAny(o.Name, `/\%`):
		return refuse(`want 1 to %d characters, and none of / \ %%`, maxVMName)
	case o.Job == "" || o.Owner == "":
		return refuse("no job, or no owner")
	case firmwares[o.Firmware] == "":
		return refuse("firmware %q: want %s or %s", o.Firmware, job.BIOS, job.UEFI)
	case newDiskController(o.Controller, firstBusNumber) == nil:
		return refuse("vSphere has no controller %q", o.Controller)
	}
	return s.parseDiskName(o.Disk)
}

// MakeOutputVM implements platforms.OutputVMs.
func (d *Driver) MakeOutputVM(ctx context.Context, o platforms.OutputVM) (string, error) {
	ref, err := d.makeOutputVM(ctx, o)
	if err != nil {
		return "", d.fail("make output VM", o.Name, err)
	}
	return d.address + "/" + ref.Value, nil
}

func (d *Driver) makeOutputVM(ctx context.Context, o platforms.OutputVM) (ref types.ManagedObjectReference, err error) {
	s, err := d.site(ctx)
	if err != nil {
		return ref, err
	}
	n, err := s.wantVM(o)
	if err != nil {
		return ref, err
	}
	err = d.patiently(ctx, func() (bool, error) {
		found, err := d.findOutputVM(ctx, s, o)
		if err != nil {
			return false, err
		}
		if found != nil {
			ref = *found
			return true, nil
		}
		return false, d.createOutputVM(ctx, s, o, n)
	})
	return ref, err
}

// findOutputVM gives the VM if this job has made it already. It fails with
// Foreign if the name is taken by something else.
func (d *Driver) findOutputVM(ctx context.Context, s *site, o platforms.OutputVM) (*types.ManagedObjectReference, error) {
	found, err := d.look(ctx, s.outputFolder.ref, o.Name)
	if err != nil || found == nil {
		return nil, err
	}
	if found.extra[keyOutputJob] == o.Job && found.extra[keyOutputOwner] == o.Owner {
		return &found.ref, nil
	}
	if found.extra[keyOutputJob] == "" {
		return nil, d.foreign(ctx, found)
	}
	return nil, platforms.Errorf(platforms.Foreign, "the VM of that name (%s) in %s is of job %s of %s",
		found.ref.Value, s.outputFolder.path, found.extra[keyOutputJob], found.extra[keyOutputOwner])
}

// createOutputVM makes the VM with the disk, in one task.
func (d *Driver) createOutputVM(ctx context.Context, s *site, o platforms.OutputVM, n diskName) error {
	there, err := d.files(ctx, n, n.base())
	if err != nil {
		return err
	}
	if len(there) == 0 {
		return platforms.Errorf(platforms.NotFound, "there is no disk %s", n)
	}
	backing, err := d.backing(ctx, s)
	if err != nil {
		return fmt.Errorf("network %s: %w", s.network.name, err)
	}
	host, err := s.host(o.Name)
	if err != nil {
		return err
	}
	return d.makeWindowsVM(ctx, s, s.outputFolder.ref, host, windowsVM{
		name: o.Name, build: o.WindowsBuild, server: o.Server, firmware: o.Firmware, controller: o.Controller,
		disk: n, mode: types.VirtualDiskModePersistent,
		home: n.datastore, // beside its disk: the two belong together
		cpus: outputCPUs, memoryMB: outputMemoryMB,
		nic:   adapter(nil, backing),
		marks: options(keyOutputJob, o.Job, keyOutputOwner, o.Owner),
	})
}
