package xenserver

import (
	"context"
	"fmt"
	"slices"

	"imageport/platforms"
)

// KeepOutputDisk implements platforms.OutputDisks. The VDI is renamed, and marked
// as kept after that: one that has its name and not the mark goes with its CE.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	found, err := d.withCE(ctx, ce, func(v *vm) (bool, error) { return d.keepOutputDisk(ctx, v, name) })
	if err == nil && !found {
		err = platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return d.fail("keep output disk of", ce, err)
}

// keepOutputDisk takes the disk a step closer to being complete.
func (d *Driver) keepOutputDisk(ctx context.Context, v *vm, name string) (kept bool, err error) {
	claims, err := v.Marks.claims()
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(claims, func(c claim) bool { return c.Name == name })
	if at < 0 {
		return false, platforms.Errorf(platforms.NotFound, "the CE has no output disk %q", name)
	}
	disk, err := d.findVDI(ctx, claims[at].VDI)
	switch {
	case err != nil:
		return false, err
	case disk == nil:
		return false, platforms.Errorf(platforms.NotFound, "output disk %q: somebody removed its VDI %s", name, claims[at].VDI)
	case disk.Marks[keyKept] != "":
		return true, nil
	case !v.elected():
		return false, platforms.Errorf(platforms.Busy, "the CE is being removed")
	}
	if disk.Name != name {
		// Also while nothing is lost.
		if err := d.vacant(ctx, disk.SR, name, disk.UUID); err != nil {
			return false, err
		}
	}
	b, err := d.diskOf(ctx, v, disk.ref)
	if err != nil {
		return false, err
	}
	switch {
	case b != nil && b.Attached:
		// The guest gives it up: it has put all on stable storage.
		if err := d.client.Run(ctx, "VBD.unplug", b.ref); err != nil {
			return false, fmt.Errorf("detach VDI %s: %w", disk.UUID, err)
		}
	case b != nil:
		return false, d.destroyVBD(ctx, *b)
	case disk.Name != name:
		if err := d.client.Call(ctx, "VDI.set_name_label", nil, disk.ref, name); err != nil {
			return false, fmt.Errorf("name VDI %s: %w", disk.UUID, err)
		}
	default:
		if _, err := d.addMark(ctx, "VDI", disk.ref, keyKept, v.UUID); err != nil {
			return false, fmt.Errorf("mark VDI %s as kept: %w", disk.UUID, err)
		}
	}
	return false, nil
}
