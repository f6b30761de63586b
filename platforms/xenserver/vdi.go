package xenserver

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"imageport/platforms/patience"
	"imageport/platforms/xenserver/xapi"
)

// vdi is a virtual disk as it was read.
type vdi struct {
	ref      xapi.Ref
	UUID     string     `json:"uuid"`
	Name     string     `json:"name_label"`
	SR       xapi.Ref   `json:"SR"`
	Size     int64      `json:"virtual_size"`
	Snapshot bool       `json:"is_a_snapshot"`
	Marks    marks      `json:"other_config"`
	VBDs     []xapi.Ref `json:"VBDs"`
}

// of reports whether the VDI belongs to that CE: it is neither complete, as an
// output or an appliance, nor a snapshot that something else made of it.
func (v *vdi) of(ce string) bool {
	return !v.Snapshot && v.Marks.complete() && v.Marks[keyCE] == ce && v.Marks[keyKept] == "" && !v.isAppliance()
}

// isAppliance reports whether the VDI holds an appliance that CEs may be copied
// from. Copies of it, which may have its marks as well, are as good.
func (v *vdi) isAppliance() bool {
	return v.Marks[keyRole] == string(roleAppliance) && v.Marks[keyComplete] != ""
}

// vbd is a disk of a VM as it was read.
type vbd struct {
	ref      xapi.Ref
	VDI      xapi.Ref `json:"VDI"`
	Device   string   `json:"userdevice"`
	Attached bool     `json:"currently_attached"`
}

// readVDI reads a VDI; it is nil if it is no more.
func (d *Driver) readVDI(ctx context.Context, ref xapi.Ref) (*vdi, error) {
	v := &vdi{ref: ref}
	err := d.client.Call(ctx, "VDI.get_record", v, ref)
	if gone(err) {
		return nil, nil
	}
	return v, err
}

// findVDI reads a VDI by its UUID; it is nil if there is none.
func (d *Driver) findVDI(ctx context.Context, uuid string) (*vdi, error) {
	var ref xapi.Ref
	if err := d.client.Call(ctx, "VDI.get_by_uuid", &ref, uuid); err != nil {
		if gone(err) {
			err = nil
		}
		return nil, err
	}
	return d.readVDI(ctx, ref)
}

// namedVDIs reads the VDIs of that name in the SR, in the order of their UUIDs.
func (d *Driver) namedVDIs(ctx context.Context, sr xapi.Ref, name string) ([]*vdi, error) {
	var refs []xapi.Ref
	if err := d.client.Call(ctx, "VDI.get_by_name_label", &refs, name); err != nil {
		return nil, err
	}
	var all []*vdi
	for _, ref := range refs {
		v, err := d.readVDI(ctx, ref)
		if err != nil {
			return nil, err
		}
		if v != nil && v.SR == sr && v.Name == name && !v.Snapshot {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b *vdi) int { return cmp.Compare(a.UUID, b.UUID) })
	return all, nil
}

// allVDIs reads those of the pool that imageport made, in the order of their UUIDs.
func (d *Driver) allVDIs(ctx context.Context) ([]*vdi, error) {
	var records map[xapi.Ref]*vdi
	if err := d.client.Call(ctx, "VDI.get_all_records", &records); err != nil {
		return nil, err
	}
	var all []*vdi
	for ref, v := range records {
		if v != nil && v.Marks.complete() {
			v.ref = ref
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b *vdi) int { return cmp.Compare(a.UUID, b.UUID) })
	return all, nil
}

// vbds reads the disks of a VM, or those that a VDI is. Ones that are no more are
// left out.
func (d *Driver) vbds(ctx context.Context, refs []xapi.Ref) ([]vbd, error) {
	var all []vbd
	for _, ref := range refs {
		b := vbd{ref: ref}
		err := d.client.Call(ctx, "VBD.get_record", &b, ref)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b vbd) int { return cmp.Compare(a.ref, b.ref) })
	return all, nil
}

// createVDI makes an empty disk with all its marks.
func (d *Driver) createVDI(ctx context.Context, sr *repository, name string, size int64, m marks) (xapi.Ref, error) {
	return d.client.RunRef(ctx, "VDI.create", map[string]any{
		"name_label": name, "name_description": "made by imageport", "SR": sr.ref, "virtual_size": size,
		"type": "user", "sharable": false, "read_only": false, "other_config": m,
		"xenstore_data": map[string]string{}, "sm_config": map[string]string{}, "tags": []string{},
	})
}

// createVBD makes a VDI a disk of a VM. The VM has a device once only.
func (d *Driver) createVBD(ctx context.Context, v *vm, disk xapi.Ref, device string, bootable bool) error {
	return d.client.Call(ctx, "VBD.create", nil, map[string]any{
		"VM": v.ref, "VDI": disk, "userdevice": device, "bootable": bootable, "mode": "RW", "type": "Disk", "unpluggable": true,
		"empty": false, "other_config": map[string]string{}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
	})
}

// destroyVDI removes a VDI that is attached to no VM that is on. That it is no
// more is a success.
func (d *Driver) destroyVDI(ctx context.Context, v *vdi) error {
	disks, err := d.vbds(ctx, v.VBDs)
	if err != nil {
		return err
	}
	for _, b := range disks {
		if b.Attached {
			return fmt.Errorf("VDI %s (%s) is attached: %w", v.Name, v.UUID, patience.ErrContended)
		}
		if err := d.destroyVBD(ctx, b); err != nil {
			return err
		}
	}
	err = d.client.Run(ctx, "VDI.destroy", v.ref)
	if err != nil && gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove VDI %s (%s): %w", v.Name, v.UUID, err)
	}
	return nil
}

// destroyVBD removes the VBD. The VDI stays.
func (d *Driver) destroyVBD(ctx context.Context, b vbd) error {
	err := d.client.Call(ctx, "VBD.destroy", nil, b.ref)
	if err == nil || gone(err) {
		return nil
	}
	return fmt.Errorf("take the disk from the VM: %w", err)
}
