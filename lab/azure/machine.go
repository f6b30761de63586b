package azure

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/lab/guest"
	"imageport/platforms"
)

// The power states that there are.
const (
	powerRunning     = "running"
	powerStopped     = "stopped"
	powerDeallocated = "deallocated"
)

// sizes are the sizes of VMs that the region has.
var sizes = []struct {
	name                   string
	cores, memoryMB, disks int32
}{
	{"Standard_B1s", 1, 1024, 2}, {"Standard_D2s_v5", 2, 8192, 4}, {"Standard_D4s_v5", 4, 16384, 8},
}

// machine is a VM. What is in it is guarded by the Cloud's mu.
type machine struct {
	group, name string
	size        string
	tags        map[string]*string
	userData    string
	vmID        string
	created     time.Time
	etag        int
	state       string
	failure     *Fault // of the operation by which it is Failed
	power       string
	op          *operation // that is in progress, or nil
	disks       []attachment
	nics        []*nic

	// gate is held while something is done to what runs in it. It is taken before
	// the Cloud's mu.
	gate sync.Mutex
	on   bool // its guest runs; guarded by gate
}

// attachment is a disk that a VM has.
type attachment struct {
	disk         *disk
	lun          int32 // -1 of the disk with the operating system
	deleteOption armcompute.DiskDeleteOptionTypes
}

func (a attachment) guest() guest.Disk {
	// The first disk has LUN 0 too, on a controller of its own.
	lun := max(a.lun, 0)
	return guest.Disk{Selector: platforms.ByLUN(uint64(lun)), File: a.disk.file, SizeBytes: a.disk.size, Name: a.disk.name}
}

func (m *machine) id() string { return resourceID(m.group, "virtualMachines", m.name) }

// seed is what is in the userData, decoded, nil if that cannot be.
func (m *machine) seed() []byte {
	b, err := base64.StdEncoding.DecodeString(m.userData)
	if err != nil || len(b) == 0 {
		return nil
	}
	return b
}

func (c *Cloud) newMachine(group, name string) *machine {
	_, uuid := c.fileOf("vm")
	m := &machine{group: group, name: name, size: sizes[0].name, vmID: uuid, created: time.Now().UTC(), etag: 1}
	c.machines[key(group, name)] = m
	return m
}

func (c *Cloud) coresInUse() (n int32) {
	for _, m := range c.machines {
		for _, s := range sizes {
			if strings.EqualFold(s.name, m.size) && m.power != powerDeallocated {
				n += s.cores
			}
		}
	}
	return n
}

// createMachine is the PUT of a VM that is not there. That of one which is
// there, without the condition, is not needed by anybody.
func (c *Cloud) createMachine(group, name string, vm armcompute.VirtualMachine, ifNoneMatch bool) (armcompute.VirtualMachine, *operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.machines[key(group, name)] != nil {
		if ifNoneMatch {
			return armcompute.VirtualMachine{}, nil, refusal(412, "PreconditionFailed", "The condition '*' in the If-None-Match header was not satisfied.")
		}
		return armcompute.VirtualMachine{}, nil, refusal(409, "PropertyChangeNotAllowed", "Changing a virtual machine by PUT is not simulated.")
	}
	if f := c.refuseMachine(vm); f != nil {
		return armcompute.VirtualMachine{}, nil, f
	}
	p := vm.Properties
	image := c.images[strings.ToLower(*p.StorageProfile.ImageReference.ID)]
	m := c.newMachine(group, name)
	m.tags, m.state, m.size = maps.Clone(vm.Tags), stateCreating, string(*p.HardwareProfile.VMSize)
	if p.UserData != nil {
		m.userData = *p.UserData
	}
	osDisk := p.StorageProfile.OSDisk
	diskName := fmt.Sprintf("%s_OsDisk_1_%s", name, m.vmID)
	if osDisk.Name != nil {
		diskName = *osDisk.Name
	}
	d := c.newDisk(group, diskName, image.size)
	if !c.cfg.Bare {
		d.tags = maps.Clone(vm.Tags)
	}
	d.createOption, d.source, d.state, d.attached = armcompute.DiskCreateOptionFromImage, image.id, stateSucceeded, m
	m.disks = []attachment{{disk: d, lun: -1, deleteOption: optionOf(osDisk.DeleteOption)}}
	for _, n := range p.NetworkProfile.NetworkInterfaceConfigurations {
		made := &nic{group: group, name: *n.Name, tags: maps.Clone(n.Tags), attached: m}
		made.cascade = n.Properties.DeleteOption != nil && *n.Properties.DeleteOption == armcompute.DeleteOptionsDelete
		c.nics[key(group, made.name)] = made
		m.nics = append(m.nics, made)
	}
	m.op = c.begin("VirtualMachinesClient.BeginCreateOrUpdate", func(op *operation) *Fault {
		return c.run(m, op, "VirtualMachinesClient.BeginCreateOrUpdate", func() *Fault {
			if err := copyFile(d.file, image.file, image.size); err != nil {
				return refusal(500, "InternalServerError", "%v", err)
			}
			return c.startGuest(m)
		})
	})
	return c.describe(m, ""), m.op, nil
}

func optionOf(o *armcompute.DiskDeleteOptionTypes) armcompute.DiskDeleteOptionTypes {
	if o == nil {
		return armcompute.DiskDeleteOptionTypesDetach
	}
	return *o
}

// refuseMachine refuses what cannot be made. The caller holds mu.
func (c *Cloud) refuseMachine(vm armcompute.VirtualMachine) *Fault {
	p := vm.Properties
	invalid := func(what string) *Fault {
		return refusal(400, "InvalidParameter", "The value of parameter %s is invalid.", what)
	}
	switch {
	case vm.Location == nil || *vm.Location != Region:
		return refusal(400, "LocationNotAvailableForResourceType", "The provided location is not available for resource type 'Microsoft.Compute/virtualMachines'.")
	case p == nil || p.HardwareProfile == nil || p.HardwareProfile.VMSize == nil || p.StorageProfile == nil || p.StorageProfile.OSDisk == nil ||
		p.StorageProfile.ImageReference == nil || p.StorageProfile.ImageReference.ID == nil || p.NetworkProfile == nil:
		return invalid("properties")
	case p.OSProfile != nil:
		return refusal(400, "InvalidParameter", "Parameter 'osProfile' is not allowed.") // of a specialized image
	case p.UserData != nil && !isBase64(*p.UserData):
		return invalid("userData")
	}
	size := slices.IndexFunc(sizes, func(s struct {
		name                   string
		cores, memoryMB, disks int32
	}) bool {
		return strings.EqualFold(s.name, string(*p.HardwareProfile.VMSize))
	})
	if size < 0 {
		return invalid("vmSize")
	}
	image := c.images[strings.ToLower(*p.StorageProfile.ImageReference.ID)]
	if image == nil || image.state != stateSucceeded {
		return refusal(404, "GalleryImageNotFound", "The gallery image %s is not available in %s region.", *p.StorageProfile.ImageReference.ID, Region)
	}
	configurations := p.NetworkProfile.NetworkInterfaceConfigurations
	if p.NetworkProfile.NetworkAPIVersion == nil || len(configurations) == 0 {
		return invalid("networkProfile")
	}
	for _, n := range configurations {
		if n == nil || n.Name == nil || n.Properties == nil || len(n.Properties.IPConfigurations) == 0 || n.Properties.IPConfigurations[0] == nil || n.Properties.IPConfigurations[0].Properties == nil ||
			n.Properties.IPConfigurations[0].Properties.Subnet == nil || n.Properties.IPConfigurations[0].Properties.Subnet.ID == nil {
			return invalid("networkInterfaceConfigurations")
		}
		subnet := *n.Properties.IPConfigurations[0].Properties.Subnet.ID
		if !strings.EqualFold(subnet, subnetID()) {
			return refusal(400, "InvalidResourceReference", "Resource %s referenced by resource was not found.", subnet)
		}
	}
	for _, action := range []string{
		"Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Network/networkInterfaces/write", "Microsoft.Network/networkInterfaces/join/action",
		"Microsoft.Compute/disks/write", "Microsoft.Compute/galleries/images/versions/read",
	} {
		if !c.allowed(action) {
			f := denied(action, subnetID())
			f.Code = "LinkedAuthorizationFailed"
			return f
		}
	}
	if int64(c.coresInUse()+sizes[size].cores) > c.cfg.Cores {
		return refusal(409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Location: %s, Current Limit: %d.", Region, c.cfg.Cores)
	}
	return nil
}

func subnetID() string {
	return "/subscriptions/" + SubscriptionID + "/resourceGroups/" + NetworkGroup + "/providers/Microsoft.Network/virtualNetworks/" + Network + "/subnets/" + Subnet
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// find gives a VM to change. The caller holds mu.
func (c *Cloud) find(group, name string) (*machine, *Fault) {
	m := c.machines[key(group, name)]
	switch {
	case m == nil:
		return nil, notFound("Microsoft.Compute/virtualMachines", name)
	case m.op != nil || m.state == stateDeleting:
		return nil, errConflict
	}
	return m, nil
}

func (c *Cloud) updateMachine(group, name string, vm armcompute.VirtualMachineUpdate, etag string) (armcompute.VirtualMachine, *operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, f := c.find(group, name)
	if f != nil {
		return armcompute.VirtualMachine{}, nil, f
	}
	if etag != "" && etag != strconv.Itoa(m.etag) {
		return armcompute.VirtualMachine{}, nil, refusal(412, "PreconditionFailed", "The etag provided in the If-Match header was not the current one.")
	}
	m.state = stateUpdating
	m.op = c.begin("VirtualMachinesClient.BeginUpdate", func(op *operation) *Fault {
		return c.run(m, op, "VirtualMachinesClient.BeginUpdate", func() *Fault {
			c.mu.Lock()
			defer c.mu.Unlock()
			if vm.Properties != nil && vm.Properties.UserData != nil {
				m.userData = *vm.Properties.UserData
			}
			if vm.Tags != nil {
				m.tags = maps.Clone(vm.Tags)
			}
			return nil
		})
	})
	return c.describe(m, ""), m.op, nil
}

// run does an operation's work on a VM, unless it was told to fail or another
// has taken its place, and says how it ended.
func (c *Cloud) run(m *machine, op *operation, call string, work func() *Fault) *Fault {
	m.gate.Lock()
	defer m.gate.Unlock()
	c.mu.Lock()
	f := c.take(call, true)
	if op.isPreempted() {
		f = errPreempted
	}
	c.mu.Unlock()
	if f == nil {
		f = work()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.etag++
	switch {
	case op.isPreempted():
		return errPreempted // what it has done is for the other one to undo
	case f != nil:
		m.state, m.failure = stateFailed, f
	default:
		m.state, m.failure = stateSucceeded, nil
	}
	m.op = nil
	return f
}

func (c *Cloud) deleteMachine(group, name string) (*operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[key(group, name)]
	if m == nil {
		return nil, nil
	}
	if m.state == stateDeleting {
		return m.op, nil
	}
	if m.op != nil {
		m.op.preempt()
	}
	m.state = stateDeleting
	m.op = c.begin("VirtualMachinesClient.BeginDelete", func(*operation) *Fault {
		m.gate.Lock()
		defer m.gate.Unlock()
		c.mu.Lock()
		f := c.take("VirtualMachinesClient.BeginDelete", true)
		if f != nil {
			m.state, m.failure, m.op = stateFailed, f, nil
		}
		c.mu.Unlock()
		if f != nil {
			return f
		}
		c.endGuest(m)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.dropMachine(m)
		return nil
	})
	return m.op, nil
}

// dropMachine removes a VM with what goes with it. The caller holds mu.
func (c *Cloud) dropMachine(m *machine) {
	for _, a := range m.disks {
		a.disk.attached = nil
		if a.deleteOption == armcompute.DiskDeleteOptionTypesDelete && !c.leaves {
			c.dropDisk(a.disk)
		}
	}
	for _, n := range m.nics {
		n.attached = nil
		if n.cascade && !c.leaves {
			delete(c.nics, key(n.group, n.name))
		}
	}
	delete(c.machines, key(m.group, m.name))
}
