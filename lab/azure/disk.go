package azure

import (
	"crypto/rand"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

const gib = 1 << 30

// disk is a managed disk, guarded by the Cloud's mu.
type disk struct {
	group, name  string
	tags         map[string]*string
	uniqueID     string
	created      time.Time
	size         int64 // of its file, in bytes; with a VHD's footer until an upload is complete
	file         string
	createOption armcompute.DiskCreateOption
	source       string // id of what it was made from
	properties   armcompute.DiskProperties
	state        string
	attached     *machine
	uploaded     bool   // of an upload: it is complete
	signature    string // by which it can be written to as a blob
	readers      int    // operations that read it
}

func (d *disk) id() string { return resourceID(d.group, "disks", d.name) }

// newDisk makes a disk without a file. The caller holds mu.
func (c *Cloud) newDisk(group, name string, size int64) *disk {
	d := &disk{group: group, name: name, size: size, created: time.Now().UTC(), createOption: armcompute.DiskCreateOptionEmpty, state: stateCreating}
	d.file, d.uniqueID = c.fileOf("disk")
	c.disks[key(group, name)] = d
	return d
}

// dropDisk removes a disk and its file. The caller holds mu.
func (c *Cloud) dropDisk(d *disk) {
	delete(c.disks, key(d.group, d.name))
	_ = os.Remove(d.file) // there may be none yet; nobody looks for it
}

func (c *Cloud) createDisk(group, name string, want armcompute.Disk) (armcompute.Disk, *operation, *Fault) {
	const call = "DisksClient.BeginCreateOrUpdate"
	c.mu.Lock()
	defer c.mu.Unlock()
	if want.Location == nil || *want.Location != Region || want.Properties == nil || want.Properties.CreationData == nil || want.Properties.CreationData.CreateOption == nil {
		return armcompute.Disk{}, nil, refusal(400, "InvalidParameter", "Required parameter 'creationData' or 'location' is missing.")
	}
	data := want.Properties.CreationData
	option, source := *data.CreateOption, ""
	if data.SourceResourceID != nil {
		source = *data.SourceResourceID
	}
	if there := c.disks[key(group, name)]; there != nil {
		switch {
		case there.createOption != option || !strings.EqualFold(there.source, source):
			return armcompute.Disk{}, nil, refusal(409, "PropertyChangeNotAllowed", "Changing property 'creationData.createOption' is not allowed.")
		case there.state == stateCreating:
			return armcompute.Disk{}, nil, errConflict
		}
		there.tags = maps.Clone(want.Tags)
		return c.describeDisk(there), nil, nil
	}
	var from *disk
	var size int64
	switch option {
	case armcompute.DiskCreateOptionEmpty:
		if want.Properties.DiskSizeGB == nil || *want.Properties.DiskSizeGB < 1 || *want.Properties.DiskSizeGB > 32767 {
			return armcompute.Disk{}, nil, refusal(400, "InvalidParameter", "The value of parameter diskSizeGB is invalid.")
		}
		size = int64(*want.Properties.DiskSizeGB) * gib
	case armcompute.DiskCreateOptionUpload:
		if data.UploadSizeBytes == nil || *data.UploadSizeBytes%(1<<20) != footerSize {
			return armcompute.Disk{}, nil, refusal(400, "InvalidParameter", "The value of parameter uploadSizeBytes is invalid: want whole MiB and a footer.")
		}
		size = *data.UploadSizeBytes
	case armcompute.DiskCreateOptionCopy:
		for _, d := range c.disks {
			if strings.EqualFold(d.id(), source) {
				from = d
			}
		}
		if from == nil || from.state != stateSucceeded {
			return armcompute.Disk{}, nil, notFound("Microsoft.Compute/disks", source)
		}
		size = from.size
	default:
		return armcompute.Disk{}, nil, refusal(400, "InvalidParameter", "The value %s of parameter createOption is not simulated.", option)
	}
	d := c.newDisk(group, name, size)
	d.tags, d.createOption, d.source = maps.Clone(want.Tags), option, source
	d.properties.OSType, d.properties.HyperVGeneration = want.Properties.OSType, want.Properties.HyperVGeneration
	if from != nil {
		from.readers++
	}
	op := c.begin(call, func(*operation) *Fault { return c.fillDisk(call, d, from) })
	return c.describeDisk(d), op, nil
}

// fillDisk gives a new disk its file, and its content if that is another's.
func (c *Cloud) fillDisk(call string, d, from *disk) *Fault {
	c.mu.Lock()
	f := c.take(call, true)
	c.mu.Unlock()
	if f == nil {
		var err error
		if from == nil {
			err = makeFile(d.file, d.size)
		} else {
			err = copyFile(d.file, from.file, d.size)
		}
		if err != nil {
			f = refusal(500, "InternalServerError", "%v", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if from != nil {
		from.readers--
	}
	switch {
	case c.disks[key(d.group, d.name)] != d:
		_ = os.Remove(d.file) // it was deleted meanwhile
		return errPreempted
	case f != nil:
		d.state = stateFailed
	default:
		d.state = stateSucceeded
	}
	return f
}

func (c *Cloud) getDisk(group, name string) (armcompute.Disk, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.disks[key(group, name)]
	if d == nil {
		return armcompute.Disk{}, notFound("Microsoft.Compute/disks", name)
	}
	return c.describeDisk(d), nil
}

func (c *Cloud) listDisks(group string) []*armcompute.Disk {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []*armcompute.Disk{}
	for _, k := range slices.Sorted(maps.Keys(c.disks)) {
		if d := c.disks[k]; strings.EqualFold(d.group, group) {
			told := c.describeDisk(d)
			all = append(all, &told)
		}
	}
	return all
}

func (c *Cloud) deleteDisk(group, name string) (*operation, *Fault) {
	const call = "DisksClient.BeginDelete"
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.disks[key(group, name)]
	if d == nil {
		return nil, nil
	}
	if f := d.inUse(); f != nil {
		return nil, f
	}
	return c.begin(call, func(*operation) *Fault {
		c.mu.Lock()
		defer c.mu.Unlock()
		if f := c.take(call, true); f != nil {
			return f
		}
		if c.disks[key(group, name)] != d {
			return nil
		}
		if f := d.inUse(); f != nil { // since it was asked for
			return f
		}
		c.dropDisk(d)
		return nil
	}), nil
}

// inUse refuses to delete a disk that somebody uses.
func (d *disk) inUse() *Fault {
	switch {
	case d.attached != nil:
		return refusal(409, "OperationNotAllowed", "Disk %s is attached to VM %s.", d.name, d.attached.id())
	case d.readers > 0 || d.signature != "":
		return refusal(409, "OperationNotAllowed", "Disk %s is being read or written.", d.name)
	}
	return nil
}

func (c *Cloud) describeDisk(d *disk) armcompute.Disk {
	told := armcompute.Disk{
		ID: to.Ptr(d.id()), Name: to.Ptr(d.name), Type: to.Ptr("Microsoft.Compute/disks"), Location: to.Ptr(Region), Tags: maps.Clone(d.tags),
		Properties: &armcompute.DiskProperties{
			CreationData:      &armcompute.CreationData{CreateOption: to.Ptr(d.createOption)},
			ProvisioningState: to.Ptr(d.state), TimeCreated: to.Ptr(d.created), UniqueID: to.Ptr(d.uniqueID),
			DiskSizeBytes: to.Ptr(d.size), DiskSizeGB: to.Ptr(int32((d.size + gib - 1) / gib)),
			OSType: d.properties.OSType, HyperVGeneration: d.properties.HyperVGeneration,
			DiskState: to.Ptr(d.diskState()),
		},
	}
	if d.source != "" {
		told.Properties.CreationData.SourceResourceID = to.Ptr(d.source)
	}
	if d.attached != nil {
		told.ManagedBy = to.Ptr(d.attached.id())
	}
	return told
}

func (d *disk) diskState() armcompute.DiskState {
	switch {
	case d.signature != "":
		return armcompute.DiskStateActiveUpload
	case d.createOption == armcompute.DiskCreateOptionUpload && !d.uploaded:
		return armcompute.DiskStateReadyToUpload
	case d.attached != nil:
		return armcompute.DiskStateAttached
	}
	return armcompute.DiskStateUnattached
}

func (c *Cloud) grantAccess(group, name string, data armcompute.GrantAccessData) (*operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.disks[key(group, name)]
	switch {
	case d == nil:
		return nil, notFound("Microsoft.Compute/disks", name)
	case data.Access == nil || *data.Access != armcompute.AccessLevelWrite || data.DurationInSeconds == nil || *data.DurationInSeconds < 1:
		return nil, refusal(400, "InvalidParameter", "Only access to write is simulated.")
	case d.createOption != armcompute.DiskCreateOptionUpload || d.uploaded || d.state != stateSucceeded:
		return nil, refusal(409, "OperationNotAllowed", "Disk %s cannot be uploaded to.", name)
	}
	if d.signature == "" {
		d.signature = rand.Text()
	}
	op := c.begin("DisksClient.BeginGrantAccess", func(*operation) *Fault { return nil })
	op.result = map[string]string{"accessSAS": "https://md-" + d.uniqueID + blobDomain + "/vhd/abcd?sv=2018-03-28&sr=b&sig=" + d.signature}
	return op, nil
}

func (c *Cloud) revokeAccess(group, name string) (*operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.disks[key(group, name)]
	if d == nil {
		return nil, notFound("Microsoft.Compute/disks", name)
	}
	return c.begin("DisksClient.BeginRevokeAccess", func(*operation) *Fault {
		c.mu.Lock()
		defer c.mu.Unlock()
		if d.signature != "" {
			d.signature, d.uploaded = "", true
		}
		return nil
	}), nil
}

// nic is a network interface, guarded by the Cloud's mu.
type nic struct {
	group, name string
	tags        map[string]*string
	attached    *machine
	cascade     bool // it goes with its VM
}

func (n *nic) id() string {
	return "/subscriptions/" + SubscriptionID + "/resourceGroups/" + n.group + "/providers/Microsoft.Network/networkInterfaces/" + n.name
}

func (c *Cloud) listNICs(group string) []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []any{}
	for _, k := range slices.Sorted(maps.Keys(c.nics)) {
		n := c.nics[k]
		if !strings.EqualFold(n.group, group) {
			continue
		}
		told := map[string]any{"id": n.id(), "name": n.name, "location": Region, "tags": n.tags, "properties": map[string]any{"provisioningState": stateSucceeded}}
		if n.attached != nil {
			told["properties"] = map[string]any{"provisioningState": stateSucceeded, "virtualMachine": map[string]string{"id": n.attached.id()}}
		}
		all = append(all, told)
	}
	return all
}

func (c *Cloud) deleteNIC(group, name string) (*operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nics[key(group, name)]
	switch {
	case n == nil:
		return nil, nil
	case n.attached != nil:
		return nil, refusal(400, "NicInUse", "Network Interface %s is used by existing resource %s.", n.id(), n.attached.id())
	}
	return c.begin("networkInterfaces.delete", func(*operation) *Fault {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.nics, key(group, name))
		return nil
	}), nil
}
