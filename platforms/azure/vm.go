package azure

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/job/seed"
	"imageport/platforms"
)

// The provisioning states in which something is under way, and how it ends.
const (
	stateCreating  = "Creating"
	stateUpdating  = "Updating"
	stateDeleting  = "Deleting"
	stateMigrating = "Migrating"
	stateSucceeded = "Succeeded"
	stateFailed    = "Failed"
)

func underWay(state string) bool {
	return slices.Contains([]string{stateCreating, stateUpdating, stateDeleting, stateMigrating}, state)
}

// vm is a VM as it was found.
type vm struct {
	name, id, etag string
	tags           tags
	state          string // of its provisioning
	power          string // "running", "stopped", "deallocated", also "starting" and the like; "" if it never had one
	fault          string // why its provisioning failed
	instance       platforms.Instance
	disks          []dataDisk
}

// dataDisk is one that a VM has, besides that of its operating system.
type dataDisk struct {
	id  string
	lun int32
}

// look gives the VM of that name, or nil.
func (d *Driver) look(ctx context.Context, name string) (*vm, error) {
	res, err := d.vms.Get(ctx, d.group, name, &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newVM(&res.VirtualMachine), nil
}

func newVM(m *armcompute.VirtualMachine) *vm {
	v := &vm{name: text(m.Name), id: text(m.ID), etag: text(m.Etag), tags: tags(m.Tags)}
	if p := m.Properties; p != nil {
		v.state = text(p.ProvisioningState)
		if p.TimeCreated != nil {
			v.instance.Created = p.TimeCreated.UTC()
		}
		if p.InstanceView != nil {
			v.readStatuses(p.InstanceView.Statuses)
		}
		if p.StorageProfile != nil {
			for _, disk := range p.StorageProfile.DataDisks {
				if disk != nil && disk.ManagedDisk != nil && disk.Lun != nil {
					v.disks = append(v.disks, dataDisk{text(disk.ManagedDisk.ID), *disk.Lun})
				}
			}
		}
	}
	v.instance.Name, v.instance.Ref, v.instance.Fault = v.name, v.id, v.fault
	v.instance.Job, v.instance.RunID, v.instance.Owner = v.tags.get(tagJob), v.tags.get(tagRun), v.tags.get(tagOwner)
	v.instance.State = platforms.Stopped
	if v.running() {
		v.instance.State = platforms.Running
	}
	return v
}

// readStatuses reads codes such as PowerState/running and
// ProvisioningState/failed/AllocationFailed.
func (v *vm) readStatuses(statuses []*armcompute.InstanceViewStatus) {
	for _, s := range statuses {
		if s == nil {
			continue
		}
		if power, ok := strings.CutPrefix(text(s.Code), "PowerState/"); ok {
			v.power = power
		}
		if code, ok := strings.CutPrefix(text(s.Code), "ProvisioningState/failed/"); ok {
			v.fault = strings.TrimSpace(strings.Join(strings.Fields(text(s.Message)), " ") + " (" + code + ")")
			if len(v.fault) > maxText {
				v.fault = strings.ToValidUTF8(v.fault[:maxText], "") + "…"
			}
		}
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// running reports whether its guest runs, and is not about to be removed.
func (v *vm) running() bool { return v.power == "running" && v.state != stateDeleting }

// settled reports whether nothing is under way with it, as far as can be seen.
func (v *vm) settled() bool {
	return !underWay(v.state) && !slices.Contains([]string{"starting", "stopping", "deallocating"}, v.power)
}

// unfinished reports whether it never came to be a CE: its creation failed. That
// of one with an output disk did not, whatever else failed since.
func (v *vm) unfinished() bool { return v.state == stateFailed && len(v.disks) == 0 }

// disk finds a data disk by its id.
func (v *vm) disk(id string) (dataDisk, bool) {
	for _, disk := range v.disks {
		if strings.EqualFold(disk.id, id) {
			return disk, true
		}
	}
	return dataDisk{}, false
}

// await gives the VM of that name when nothing is under way with it, or nil. How
// long that takes is for ctx to say.
func (d *Driver) await(ctx context.Context, name string) (*vm, error) {
	for pause := d.pauses; ; {
		v, err := d.look(ctx, name)
		if err != nil || v == nil || v.settled() {
			return v, err
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// ours refuses a VM that has the name of a CE and no mark of one.
func (v *vm) ours() error {
	if v.tags.ce() != v.name {
		return platforms.Errorf(platforms.Foreign, "there is a VM %s that is no CE of imageport", v.id)
	}
	return nil
}

// belongs refuses a CE of another job.
func (v *vm) belongs(ce platforms.Spec) error {
	if err := v.ours(); err != nil {
		return err
	}
	if !v.tags.of(ce) {
		return platforms.Errorf(platforms.Foreign, "the CE of that name is of job %s of %s", v.tags.get(tagJob), v.tags.get(tagOwner))
	}
	return nil
}

// withCE calls do with the CE, when nothing is under way with it, until that is
// done, or there is no CE.
func (d *Driver) withCE(ctx context.Context, name string, do func(*vm) (done bool, err error)) error {
	if err := validName(name); err != nil {
		return err
	}
	return d.patiently(ctx, func() (bool, error) {
		v, err := d.await(ctx, name)
		if err == nil && v != nil {
			err = v.ours()
		}
		if err != nil || v == nil {
			return err == nil, err
		}
		return do(v)
	})
}

func validName(name string) error {
	if !seed.ValidName(name) {
		return platforms.Errorf(platforms.BadRequest, "%q is no name for a CE (ce- and 12 hexadecimal digits)", name)
	}
	return nil
}

// Find implements platforms.Driver.
func (d *Driver) Find(ctx context.Context, name string) (platforms.Instance, error) {
	err := validName(name)
	var v *vm
	if err == nil {
		v, err = d.look(ctx, name)
	}
	switch {
	case err != nil:
		return platforms.Instance{}, d.fail("find", name, err)
	case v == nil || v.tags.ce() != name:
		return platforms.Instance{}, d.fail("find", name, errGone())
	}
	return v.instance, nil
}

// List implements platforms.Driver. It gives the CEs in the resource group of the
// request, and as Stopped those of which there is only something else left.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) {
	list, err := d.list(ctx)
	if err != nil {
		return nil, d.fail("list", "CEs", err)
	}
	return list, nil
}

func (d *Driver) list(ctx context.Context) ([]platforms.Instance, error) {
	found := make(map[string]platforms.Instance)
	for pager := d.vms.NewListPager(d.group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if missing(err) {
			return nil, nil // there is not even the group
		}
		if err != nil {
			return nil, err
		}
		for _, m := range page.Value {
			if m == nil || m.Name == nil || tags(m.Tags).ce() != *m.Name {
				continue
			}
			name := *m.Name
			// Whether it runs is told only of one at a time.
			v, err := d.look(ctx, name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if v != nil && v.tags.ce() == name {
				found[name] = v.instance
			}
		}
	}
	parts, err := d.parts(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if in, ok := found[p.ce]; ok && (in.Job != "" || p.tags.get(tagJob) == "") {
			continue // what is known already says as much
		}
		if p.attached { // its VM was made meanwhile
			continue
		}
		found[p.ce] = platforms.Instance{
			Name: p.ce, Job: p.tags.get(tagJob), RunID: p.tags.get(tagRun), Owner: p.tags.get(tagOwner),
			State: platforms.Stopped, Created: p.created, Ref: p.id,
		}
	}
	var list []platforms.Instance
	for _, in := range found {
		list = append(list, in)
	}
	slices.SortFunc(list, func(a, b platforms.Instance) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
