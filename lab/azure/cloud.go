package azure

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"imageport/job"
	"imageport/lab/guest"
)

// Config says what a Cloud is like. Everything has a default.
type Config struct {
	// Dir is the directory of the disks' files. By default it is a temporary one,
	// which Close removes.
	Dir string
	// Secret is the client secret of the one application that may log in, by
	// default a random one.
	Secret string
	// Guests runs what is in the VMs. If nil, VMs are only said to run.
	Guests guest.Guests
	// Cores is the quota of cores in the region (100).
	Cores int64
	// Polls is how often the status of an operation is asked in vain at least (1).
	Polls int
	// Bare makes the disks that VMs start from without the VMs' tags.
	Bare bool
	// Before, if it is not nil, is asked before each call, under its name in the
	// SDK or, where that has none, in this package. Its error is that of the
	// connection.
	Before func(call string) error
}

// What there is in every Cloud.
const (
	SubscriptionID = "5f0c1d2e-0000-4000-8000-00000000aaaa"
	TenantID       = "5f0c1d2e-0000-4000-8000-00000000bbbb"
	ClientID       = "5f0c1d2e-0000-4000-8000-00000000cccc"
	Region         = "westeurope"
	// Group is the resource group of the CEs, OutputGroup another one.
	Group, OutputGroup = "imageport", "disks"
	// NetworkGroup has the network Network with the subnet Subnet.
	NetworkGroup, Network, Subnet = "net", "vnet", "ces"
	// GalleryGroup has the gallery Gallery, which is empty.
	GalleryGroup, Gallery = "images", "gallery"
)

// Cloud is a simulated subscription. Its methods may be called at the same time.
type Cloud struct {
	cfg       Config
	temporary string // Config.Dir if it is ours to remove
	work      sync.WaitGroup
	closing   sync.Once
	ending    chan struct{}

	mu         sync.Mutex
	count      uint64 // of what was made: names of files, identifiers
	groups     []string
	machines   map[string]*machine // by lower-case group/name
	disks      map[string]*disk
	nics       map[string]*nic
	images     map[string]*imageVersion // by lower-case id
	definition map[string]bool          // lower-case names of the gallery's image definitions
	operations map[string]*operation
	faults     []*fault
	delays     map[string]time.Duration
	holds      map[string]time.Duration
	revoked    []string
	granted    []string // nil for all
	leaves     bool     // deleted VMs leave what should go with them
	tokens     map[string]time.Time
}

// Start starts a Cloud.
func Start(cfg Config) (*Cloud, error) {
	cfg.Secret = cmp.Or(cfg.Secret, rand.Text())
	cfg.Cores = cmp.Or(cfg.Cores, 100)
	cfg.Polls = cmp.Or(cfg.Polls, 1)
	c := &Cloud{
		cfg: cfg, ending: make(chan struct{}),
		groups:     []string{Group, OutputGroup, NetworkGroup, GalleryGroup},
		machines:   make(map[string]*machine),
		disks:      make(map[string]*disk),
		nics:       make(map[string]*nic),
		images:     make(map[string]*imageVersion),
		definition: make(map[string]bool),
		operations: make(map[string]*operation),
		delays:     make(map[string]time.Duration),
		holds:      make(map[string]time.Duration),
		tokens:     make(map[string]time.Time),
	}
	if cfg.Dir == "" {
		dir, err := os.MkdirTemp("", "imageport-azure-")
		if err != nil {
			return nil, fmt.Errorf("azure: %w", err)
		}
		c.cfg.Dir, c.temporary = dir, dir
	}
	dir, err := filepath.Abs(c.cfg.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("azure: %w", err)
	}
	c.cfg.Dir = dir
	return c, nil
}

// Close waits for what is going on, and switches the guests off. What is in
// Config.Dir stays.
func (c *Cloud) Close() {
	c.closing.Do(func() {
		close(c.ending)
		c.work.Wait()
		c.mu.Lock()
		var running []*machine
		for _, m := range c.machines {
			running = append(running, m)
		}
		c.mu.Unlock()
		for _, m := range running {
			m.gate.Lock()
			c.endGuest(m)
			m.gate.Unlock()
		}
		if c.temporary != "" {
			_ = os.RemoveAll(c.temporary) // a leftover in the temporary directory harms nobody
		}
	})
}

// Wait waits until nothing is going on: no operation, and no request.
func (c *Cloud) Wait() { c.work.Wait() }

// Secret is the one of the application ClientID.
func (c *Cloud) Secret() string { return c.cfg.Secret }

// Target says where in the Cloud a request may place a CE.
func (c *Cloud) Target(credentialID string) job.Target {
	t := job.Target{Platform: job.PlatformAzure, PlatformCredentialID: credentialID}
	t.Azure = job.Azure{
		SubscriptionID: SubscriptionID, AzureRegion: Region, ResourceGroup: Group,
		VirtualNetworkResourceGroupName: NetworkGroup, VirtualNetworkName: Network, VirtualNetworkSubnetName: Subnet,
		TargetDiskResourceGroupName: OutputGroup,
	}
	return t
}

// GalleryID is the resource id of the gallery.
func GalleryID() string { return resourceID(GalleryGroup, "galleries", Gallery) }

// resourceID gives the id of a resource of the compute provider.
func resourceID(group, kind, name string) string {
	return "/subscriptions/" + SubscriptionID + "/resourceGroups/" + group + "/providers/Microsoft.Compute/" + kind + "/" + name
}

func key(group, name string) string { return strings.ToLower(group + "/" + name) }

// fileOf gives a name for another file, and an identifier for what is in it. The
// caller holds mu.
func (c *Cloud) fileOf(kind string) (file, uniqueID string) {
	c.count++
	uniqueID = fmt.Sprintf("%08x-0000-4000-8000-%012x", c.count, c.count)
	return filepath.Join(c.cfg.Dir, kind+"-"+uniqueID+".raw"), uniqueID
}

// Resource is something that is there, for those who look at it from outside.
type Resource struct {
	Kind  string // "virtualMachine", "disk", "networkInterface" or "imageVersion"
	Group string
	Name  string
	// State is its provisioning state.
	State string
	// Power is that of a VM: "running", "stopped", "deallocated", or "".
	Power string
	Tags  map[string]string
	// File has the bytes of a disk.
	File string
	// Generation is that of the VMs that can start from a disk, "V1" or "V2", or "".
	Generation string
	// AttachedTo is the name of the VM that has it, "" for none.
	AttachedTo string
	// Seed is what a VM finds in its userData.
	Seed []byte
	// Ref is its resource id.
	Ref string
}

// Resources gives all that there is, sorted by kind, group and name.
func (c *Cloud) Resources() []Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Resource
	for _, m := range c.machines {
		all = append(all, Resource{
			Kind: "virtualMachine", Group: m.group, Name: m.name, State: m.state, Power: m.power,
			Tags: plain(m.tags), Seed: m.seed(), Ref: m.id(),
		})
	}
	for _, d := range c.disks {
		r := Resource{Kind: "disk", Group: d.group, Name: d.name, State: d.state, Tags: plain(d.tags), File: d.file, Ref: d.id()}
		if d.attached != nil {
			r.AttachedTo = d.attached.name
		}
		if g := d.properties.HyperVGeneration; g != nil {
			r.Generation = string(*g)
		}
		all = append(all, r)
	}
	for _, n := range c.nics {
		r := Resource{Kind: "networkInterface", Group: n.group, Name: n.name, State: stateSucceeded, Tags: plain(n.tags), Ref: n.id()}
		if n.attached != nil {
			r.AttachedTo = n.attached.name
		}
		all = append(all, r)
	}
	for id, v := range c.images {
		all = append(all, Resource{Kind: "imageVersion", Group: GalleryGroup, Name: v.name, State: v.state, Tags: plain(v.tags), File: v.file, Ref: id})
	}
	slices.SortFunc(all, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func plain(tags map[string]*string) map[string]string {
	p := make(map[string]string, len(tags))
	for k, v := range tags {
		if v != nil {
			p[k] = *v
		}
	}
	return p
}

// AddDisk makes an empty disk, as somebody else than imageport may.
func (c *Cloud) AddDisk(group, name string, sizeBytes int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disks[key(group, name)] != nil {
		return errors.New("azure: there is such a disk")
	}
	d := c.newDisk(group, name, sizeBytes)
	d.state = stateSucceeded
	return makeFile(d.file, sizeBytes)
}

// AddMachine makes a VM without disks, switched off, as somebody else may.
func (c *Cloud) AddMachine(group, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.newMachine(group, name)
	m.state, m.power = stateSucceeded, powerDeallocated
}

// Remove removes a disk, whoever has it, as its owner may.
func (c *Cloud) Remove(group, disk string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.disks[key(group, disk)]; d != nil {
		c.dropDisk(d)
	}
}

// DeleteMachine deletes a VM, as somebody else may.
func (c *Cloud) DeleteMachine(group, name string) {
	_, _ = c.deleteMachine(group, name) // it does not refuse
	c.Wait()
}
