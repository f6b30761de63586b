package xenserver

import (
	"context"
	"fmt"
	"time"

	"imageport/platforms/patience"
	"imageport/platforms/xenserver/xapi"
)

// baseName is the name of the VDI that CEs in an SR are copied from.
func baseName(i *image) string { return "imageport-ce " + i.digest }

func (d *Driver) now() string { return d.p.cfg.Now().UTC().Format(time.RFC3339Nano) }

// base gives the VDI with the appliance in the SR, and imports that first if it is
// not there yet. The marks are those of the CE that needs it.
func (d *Driver) base(ctx context.Context, sr *repository, i *image, ce marks) (*vdi, error) {
	found, err := d.lookBase(ctx, sr, i)
	if err != nil || found != nil {
		return found, err
	}
	release, err := d.p.imports.Take(ctx, d.address+"/"+sr.UUID+"/"+i.digest)
	if err != nil {
		return nil, err
	}
	defer release()
	found, err = d.lookBase(ctx, sr, i)
	if err != nil || found != nil {
		return found, err
	}
	if err := d.importBase(ctx, sr, i, ce); err != nil {
		return nil, fmt.Errorf("import the appliance: %w", err)
	}
	if found, err = d.lookBase(ctx, sr, i); err == nil && found == nil {
		err = fmt.Errorf("the appliance was imported, and is gone: %w", patience.ErrContended)
	}
	return found, err
}

// lookBase gives the VDI with the appliance; it is nil if there is none. Of several,
// which workers that know nothing of each other have imported, it is the one with
// the smallest UUID, and the others go.
func (d *Driver) lookBase(ctx context.Context, sr *repository, i *image) (*vdi, error) {
	named, err := d.namedVDIs(ctx, sr.ref, baseName(i))
	if err != nil {
		return nil, err
	}
	var first *vdi
	for _, v := range named {
		switch {
		case !v.isAppliance() || v.Marks[keyAppliance] != i.digest:
		case first == nil:
			first = v
		default:
			_ = d.destroyVDI(ctx, v) // if somebody copies it just now, it goes the next time
		}
	}
	return first, nil
}

// importBase makes the VDI, sends the bytes, and marks it as complete. What is not
// belongs to the CE for which it was imported, and goes with that.
func (d *Driver) importBase(ctx context.Context, sr *repository, i *image, ce marks) error {
	if err := d.learnHosts(ctx); err != nil {
		return err
	}
	file, err := d.p.appliance.Open()
	if err != nil {
		return err
	}
	defer file.Close()
	m := ce.of("", roleAppliance)
	m[keyAppliance] = i.digest
	ref, err := d.createVDI(ctx, sr, baseName(i), (i.size+mib-1)/mib*mib, m)
	if err != nil {
		return err
	}
	if err := d.client.ImportRaw(ctx, ref, file, i.size); err != nil {
		if v, lookErr := d.readVDI(ctx, ref); lookErr == nil && v == nil {
			return fmt.Errorf("%w; somebody removed the VDI: %w", err, patience.ErrContended)
		}
		d.dropImport(ctx, ref)
		return err
	}
	if first, err := d.lookBase(ctx, sr, i); err == nil && first != nil {
		d.dropImport(ctx, ref) // another worker was faster
		return nil
	}
	_, err = d.addMark(ctx, "VDI", ref, keyComplete, d.now())
	return err
}

// dropImport removes what was imported and is not needed. If that fails, it stays
// until its CE is destroyed.
func (d *Driver) dropImport(ctx context.Context, ref xapi.Ref) {
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer stop()
	_ = d.client.Run(longer, "VDI.destroy", ref)
}

// dropTimeout is for how long the removal of what failed is waited for.
const dropTimeout = 10 * time.Second
