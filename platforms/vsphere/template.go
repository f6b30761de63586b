package vsphere

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// templatePrefix begins the names of the templates that we import.
const templatePrefix = "imageport-appliance-"

// template gives the VM template that the CE is cloned from, and imports the
// appliance first if it is not there yet.
func (d *Driver) template(ctx context.Context, s *site, folder types.ManagedObjectReference, ce platforms.Spec) (*vm, error) {
	if d.p.cfg.Template != "" {
		return d.findTemplate(ctx, s)
	}
	o, err := d.p.ova.Read(ctx)
	if err != nil {
		return nil, err
	}
	name := templateName(o, s)
	release, err := d.p.imports.Take(ctx, s.datacenter.ref.String()+d.address+"/"+name)
	if err != nil {
		return nil, err
	}
	defer release()
	found, err := d.lookTemplate(ctx, folder, name)
	if err != nil || found != nil {
		return found, err
	}
	if err := d.importTemplate(ctx, s, folder, o, name, ce); err != nil {
		return nil, err
	}
	if found, err = d.lookTemplate(ctx, folder, name); err == nil && found == nil {
		err = fmt.Errorf("template %s: it was imported, and is gone: %w", name, patience.ErrContended)
	}
	return found, err
}

// templateName is that of the template of the appliance in one datastore, for
// one cluster or host: cloning from it copies within the datastore.
func templateName(o *ova, s *site) string {
	place := sha256.Sum256([]byte(s.datastore.ref.Value + " " + s.compute.ref.Value))
	return templatePrefix + o.digest[:12] + "-" + hex.EncodeToString(place[:3])
}

// lookTemplate reads the template of that name that we imported. Only one that
// is complete has the name.
func (d *Driver) lookTemplate(ctx context.Context, folder types.ManagedObjectReference, name string) (*vm, error) {
	found, err := d.look(ctx, folder, name)
	if err != nil || found == nil {
		return nil, err
	}
	if !found.template || found.extra[keyImport] == "" {
		return nil, platforms.Errorf(platforms.Foreign, "there is a %s %s (%s) that is not the template that imageport imported: rename or remove it", found.ref.Type, name, found.ref.Value)
	}
	return found, nil
}

// importTemplate imports the appliance under a name of its own, and gives it
// the template's when it is complete. What a worker leaves that dies meanwhile
// bears the name of its CE, goes with it, and is in nobody's way.
func (d *Driver) importTemplate(ctx context.Context, s *site, folder types.ManagedObjectReference, o *ova, name string, ce platforms.Spec) error {
	own := name + "." + ce.Name + "." + strings.ToLower(rand.Text()[:8])
	ref, err := d.importOVA(ctx, s, folder, o, own, options(
		keyImport, ce.Name, keyJob, ce.Job, keyRun, ce.RunID, keyOwner, ce.Owner, keyCreated, d.p.now()))
	if err != nil {
		if ref != nil {
			d.dropImport(ctx, *ref)
		}
		return fmt.Errorf("import the appliance as %s: %w", own, err)
	}
	v := object.NewVirtualMachine(d.client, *ref)
	if err := v.MarkAsTemplate(ctx); err != nil {
		return fmt.Errorf("make %s a template: %w", own, err)
	}
	_, err = d.run(ctx, func(ctx context.Context) (*object.Task, error) { return v.Rename(ctx, name) })
	if err == nil || ctx.Err() != nil {
		return err
	}
	// If the name is taken, another worker was faster: its template is used, or
	// if that has gone meanwhile, all begins anew.
	d.dropImport(ctx, *ref)
	found, lookErr := d.lookTemplate(ctx, folder, name)
	switch faultOf(err).(type) {
	case *types.DuplicateName, *types.InvalidArgument:
		if lookErr == nil && found == nil {
			err = fmt.Errorf("%w; it is gone: %w", err, patience.ErrContended)
		}
	}
	if lookErr == nil && found != nil {
		return nil
	}
	return fmt.Errorf("name the template %s: %w", own, err)
}

// dropImport removes what was imported and is not needed. If that fails, it
// stays until its CE is destroyed.
func (d *Driver) dropImport(ctx context.Context, ref types.ManagedObjectReference) {
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer stop()
	_, _ = d.run(longer, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(d.client, ref).Destroy(ctx)
	})
}

// isImport reports whether the VM is an import for the CE that was not completed.
func (v *vm) isImport(ce string) bool {
	return v.extra[keyImport] == ce && strings.HasPrefix(v.name, templatePrefix) && strings.Contains(v.name, "."+ce+".")
}

// findTemplate finds the template that the configuration names.
func (d *Driver) findTemplate(ctx context.Context, s *site) (*vm, error) {
	wanted := d.p.cfg.Template
	all, err := d.survey(ctx, s.vmFolder.ref, map[string][]string{"Folder": nil, "VirtualMachine": {"config.template"}},
		traverse("folders", "Folder", "childEntity", "folders"))
	if err != nil {
		return nil, err
	}
	all.setPaths(s.vmFolder.ref, s.vmFolder.path)
	var templates []*entity
	for _, e := range all.of("VirtualMachine") {
		if get[bool](e.properties, "config.template") {
			templates = append(templates, e)
		}
	}
	found, err := pick("template", wanted, s.vmFolder.path, templates)
	if err != nil {
		return nil, err
	}
	p, err := d.read(ctx, found.ref, vmProperties...)
	if err != nil {
		return nil, err
	}
	return parseVM(found.ref, p), nil
}
