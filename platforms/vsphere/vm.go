package vsphere

import (
	"context"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/patience"
)

// What we know of a VM stands in its advanced settings, under these keys.
const (
	keyCE      = "imageport.ce"      // name of the CE: a copy under another name is not one
	keyJob     = "imageport.job"     // workflow
	keyRun     = "imageport.run"     // run of it that asked first
	keyOwner   = "imageport.owner"   // resource location
	keyCreated = "imageport.created" // RFC 3339
	keyEnding  = "imageport.ending"  // it is being removed
	// keyOutput begins the keys of output disks, which are records in JSON.
	keyOutput = "imageport.output."
	// keyImport is the name of the CE for which an appliance is imported.
	keyImport = "imageport.import"
	// keyOutputJob and keyOutputOwner are the marks of an output VM, which is no CE.
	keyOutputJob   = "imageport.output-vm.job"
	keyOutputOwner = "imageport.output-vm.owner"

	// keySeed is where the appliance looks for its seed, in base64.
	keySeed = "guestinfo." + seed.Key
	// keyDiskUUID makes disks show their UUIDs to the guest, as serial numbers.
	keyDiskUUID = "disk.enableUUID"
)

// vm is a VM as it was read.
type vm struct {
	ref      types.ManagedObjectReference
	name     string
	extra    map[string]string // advanced settings
	devices  object.VirtualDeviceList
	power    types.VirtualMachinePowerState
	template bool
	home     string // the datastore path of its configuration file
	made     time.Time
	recent   []types.ManagedObjectReference // its last tasks
	version  string                         // changes with each change of its configuration
	trouble  string                         // why it will not do anything, in a line, or ""
}

// vmProperties are what parseVM wants.
var vmProperties = []string{
	"name", "runtime.powerState", "config.extraConfig", "config.hardware.device", "config.template",
	"config.files.vmPathName", "config.createDate", "config.changeVersion", "recentTask",
	"runtime.connectionState", "runtime.question",
}

func parseVM(ref types.ManagedObjectReference, p properties) *vm {
	v := &vm{
		ref: ref, name: plain(get[string](p, "name")), extra: make(map[string]string),
		devices:  get[types.ArrayOfVirtualDevice](p, "config.hardware.device").VirtualDevice,
		power:    get[types.VirtualMachinePowerState](p, "runtime.powerState"),
		template: get[bool](p, "config.template"),
		home:     get[string](p, "config.files.vmPathName"),
		made:     get[time.Time](p, "config.createDate"),
		version:  get[string](p, "config.changeVersion"),
		recent:   get[types.ArrayOfManagedObjectReference](p, "recentTask").ManagedObjectReference,
		trouble:  troubleOf(p),
	}
	for _, o := range get[types.ArrayOfOptionValue](p, "config.extraConfig").OptionValue {
		if text, ok := o.GetOptionValue().Value.(string); ok {
			v.extra[o.GetOptionValue().Key] = text
		}
	}
	return v
}

// troubleOf says why a VM that is on does nothing, as far as the vCenter tells.
func troubleOf(p properties) string {
	connection := get[types.VirtualMachineConnectionState](p, "runtime.connectionState")
	question, asked := p["runtime.question"].(types.VirtualMachineQuestionInfo)
	switch {
	case asked:
		return oneLine("vSphere waits for an answer: " + question.Text)
	case connection != "" && connection != types.VirtualMachineConnectionStateConnected:
		return "the VM is " + string(connection)
	case get[types.VirtualMachinePowerState](p, "runtime.powerState") == types.VirtualMachinePowerStateSuspended:
		return "the VM is suspended"
	}
	return ""
}

func (v *vm) object(d *Driver) *object.VirtualMachine {
	return object.NewVirtualMachine(d.client, v.ref)
}

// isCE reports whether the VM is a CE that imageport made under the name that
// it has.
func (v *vm) isCE() bool {
	return !v.template && seed.ValidName(v.name) && v.extra[keyCE] == v.name && v.extra[keyJob] != "" && v.extra[keyOwner] != ""
}

func (v *vm) off() bool { return v.power == types.VirtualMachinePowerStatePoweredOff }

// instance gives the CE, or what was imported for it.
func (v *vm) instance(name, address string) platforms.Instance {
	in := platforms.Instance{
		Name: name, Job: v.extra[keyJob], RunID: v.extra[keyRun], Owner: v.extra[keyOwner],
		State: platforms.Stopped, Created: v.made, Ref: address + "/" + v.ref.Value, Fault: v.trouble,
	}
	if v.power == types.VirtualMachinePowerStatePoweredOn {
		in.State = platforms.Running
	}
	if t, err := time.Parse(time.RFC3339Nano, v.extra[keyCreated]); err == nil {
		in.Created = t
	}
	return in
}

// look reads the VM of that name in the folder; it is nil if there is none.
func (d *Driver) look(ctx context.Context, folder types.ManagedObjectReference, name string) (*vm, error) {
	ref, err := d.child(ctx, folder, name)
	if err != nil || ref == nil || ref.Type != "VirtualMachine" {
		if err == nil && ref != nil {
			return &vm{ref: *ref, name: name}, nil // a folder, which has no marks
		}
		return nil, err
	}
	p, err := d.read(ctx, *ref, vmProperties...)
	if err != nil {
		if f, ok := faultOf(err).(*types.ManagedObjectNotFound); ok && f.Obj == *ref {
			return nil, nil
		}
		return nil, err
	}
	return parseVM(*ref, p), nil
}

// lookCE reads the CE of that name; it is nil if there is none, also if there is
// not even a folder. It fails with Foreign if the name belongs to something else.
func (d *Driver) lookCE(ctx context.Context, s *site, name string) (*vm, error) {
	if !seed.ValidName(name) {
		return nil, invalidName(name)
	}
	folder, err := d.findFolder(ctx, s)
	if err != nil || folder == nil {
		return nil, err
	}
	found, err := d.look(ctx, *folder, name)
	if err != nil || found == nil || found.isCE() {
		return found, err
	}
	return nil, d.foreign(ctx, found)
}

func invalidName(ce string) error {
	return platforms.Errorf(platforms.BadRequest, "%q is no name for a CE (ce- and 12 hexadecimal digits)", ce)
}

// foreign gives the error of a VM that has a name that is ours, and not the
// marks. It may still be in the making, and get them: then others are in the way.
func (d *Driver) foreign(ctx context.Context, v *vm) error {
	busy, err := d.busy(ctx, v, "")
	if err != nil {
		return err
	}
	if busy || v.ref.Type == "VirtualMachine" && v.version == "" {
		return fmt.Errorf("the VM is being made: %w", patience.ErrContended)
	}
	return platforms.Errorf(platforms.Foreign, "there is a %s of that name (%s) that imageport did not make%w", v.ref.Type, v.ref.Value, errDoubtful)
}

// busy reports whether a task works on the VM: of that method, or of any if it is "".
func (d *Driver) busy(ctx context.Context, v *vm, method string) (bool, error) {
	states, err := d.taskStates(ctx, v, method)
	return slices.ContainsFunc(states, unfinished), err
}

// unfinished reports whether a task in that state still does something.
func unfinished(s types.TaskInfoState) bool {
	return s == types.TaskInfoStateQueued || s == types.TaskInfoStateRunning
}

// taskStates gives the states of the VM's last tasks: of those of that method, or
// of all if it is "".
func (d *Driver) taskStates(ctx context.Context, v *vm, method string) ([]types.TaskInfoState, error) {
	if len(v.recent) == 0 {
		return nil, nil
	}
	filter := types.PropertyFilterSpec{
		PropSet:                       []types.PropertySpec{{Type: "Task", PathSet: []string{"info.state", "info.name"}}},
		ReportMissingObjectsInResults: types.NewBool(true), // that is: do not fail
	}
	for _, ref := range v.recent {
		filter.ObjectSet = append(filter.ObjectSet, types.ObjectSpec{Obj: ref})
	}
	tasks, err := d.retrieve(ctx, filter)
	if err != nil {
		return nil, err
	}
	var states []types.TaskInfoState
	for _, t := range tasks {
		if method == "" || get[string](t, "info.name") == method {
			states = append(states, get[types.TaskInfoState](t, "info.state"))
		}
	}
	return states, nil
}

// vms reads all VMs of the folder, in one call.
func (d *Driver) vms(ctx context.Context, folder types.ManagedObjectReference) ([]*vm, error) {
	found, err := d.retrieve(ctx, types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: folder, Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{
			traverse("children", "Folder", "childEntity"),
		}}},
		PropSet: []types.PropertySpec{{Type: "VirtualMachine", PathSet: vmProperties}},
	})
	var all []*vm
	for ref, p := range found {
		if ref.Type == "VirtualMachine" {
			all = append(all, parseVM(ref, p))
		}
	}
	return all, err
}

// reconfigure changes the VM in one task. A change of its devices, which depends
// on those that it has, is not made if somebody has changed it since it was read.
func (d *Driver) reconfigure(ctx context.Context, v *vm, spec types.VirtualMachineConfigSpec) error {
	if len(spec.DeviceChange) > 0 {
		spec.ChangeVersion = v.version
	}
	_, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) { return v.object(d).Reconfigure(ctx, spec) })
	if err == nil || ctx.Err() != nil {
		return err
	}
	now, readErr := d.read(ctx, v.ref, "config.changeVersion")
	if readErr == nil && get[string](now, "config.changeVersion") != v.version {
		return fmt.Errorf("%w; the VM was changed meanwhile: %w", err, patience.ErrContended)
	}
	return err
}

// options gives advanced settings, from keys and values by turns.
func options(pairs ...string) []types.BaseOptionValue {
	var list []types.BaseOptionValue
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, &types.OptionValue{Key: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// encodeSeed gives the seed as the appliance looks for it.
func encodeSeed(s seed.Seed) (string, error) {
	b, err := s.Encode()
	if err != nil {
		return "", &platforms.Error{Kind: platforms.BadRequest, Err: err}
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// disk is a virtual disk of a VM, with its file.
type disk struct {
	device *types.VirtualDisk
	file   string // datastore path
	uuid   string // as the vCenter writes it, "" if it does not say
}

// disks gives the disks that are attached to the VM.
func (v *vm) disks() []disk {
	var all []disk
	for _, device := range v.devices {
		vd, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		d := disk{device: vd}
		if b, ok := vd.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			d.file = b.GetVirtualDeviceFileBackingInfo().FileName
		}
		if b, ok := vd.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			d.uuid = b.Uuid
		}
		all = append(all, d)
	}
	return all
}

// disk gives the disk with that file.
func (v *vm) disk(file string) (disk, bool) {
	for _, d := range v.disks() {
		if d.file == file {
			return d, true
		}
	}
	return disk{}, false
}

// owns reports whether a file lies in the VM's own directory. A vCenter that
// spreads a VM over datastores names its directories alike.
func (v *vm) owns(file string) bool {
	var home, at object.DatastorePath
	if !home.FromString(v.home) || !at.FromString(file) {
		return false
	}
	dir := path.Dir(at.Path)
	return dir != "." && (dir == path.Dir(home.Path) || strings.HasPrefix(path.Base(dir), v.name))
}
