package vcenter

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/lab/guest"
	"imageport/lab/selfsigned"
)

// DefaultUsername is that of a vCenter's first administrator.
const DefaultUsername = "administrator@vsphere.local"

// Config says what a VCenter is like.
type Config struct {
	// Listen is the address to listen on, 127.0.0.1 and a free port by default.
	Listen string
	// Dir is the directory below which the datastores' directories are made. By
	// default it is a temporary one, which Close removes.
	Dir string
	// Username and Password are the only ones that may log in:
	// DefaultUsername and a random password by default.
	Username, Password string
	// Guests runs what is in the VMs. If nil, VMs are only said to run.
	Guests guest.Guests
	// Datastores is how many there are (1): LocalDS_0, LocalDS_1 and so on.
	Datastores int
	// Hosts is how many are in the cluster DC0_C0 (3). DC0_H0 stands alone.
	Hosts int
}

// VCenter is a simulated vCenter that listens. Its methods may be called at the
// same time.
type VCenter struct {
	selfsigned.Certificate
	cfg        Config
	model      *simulator.Model
	server     *simulator.Server
	datastores map[string]string // name -> directory
	temporary  string            // Config.Dir if it is ours to remove

	privileges privileges
	taskCount  atomic.Int64
	tasks      sync.WaitGroup
	closing    sync.Once
	// storing is held while VMs and disks come and go: between looking whether a
	// name is free and taking it, and because the simulator locks a folder, a pool
	// and a datastore in different orders to make a VM. It is taken after a VM's
	// gate.
	storing sync.Mutex

	mu     sync.Mutex
	closed bool
	delays map[string]time.Duration
	gates  map[types.ManagedObjectReference]*sync.Mutex
	runs   map[types.ManagedObjectReference]run
	// locks are the descriptors of the disks of running VMs, and which VM it is.
	locks map[string]types.ManagedObjectReference
	// uploads are the disks that leases wait for, by lease and file name.
	uploads map[[2]string]string
}

// Start starts a VCenter with the inventory of simulator.VPX without its VMs:
// datacenter DC0, cluster DC0_C0, host DC0_H0, network "VM Network".
func Start(cfg Config) (*VCenter, error) {
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	cfg.Username = cmp.Or(cfg.Username, DefaultUsername)
	cfg.Password = cmp.Or(cfg.Password, rand.Text())
	cfg.Datastores = cmp.Or(cfg.Datastores, 1)
	cfg.Hosts = cmp.Or(cfg.Hosts, 3)
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("vcenter: listen address: %w", err)
	}
	certificate, err := selfsigned.New("imageport lab vCenter", time.Now(), host)
	if err != nil {
		return nil, fmt.Errorf("vcenter: certificate: %w", err)
	}
	v := &VCenter{
		cfg:         cfg,
		model:       simulator.VPX(),
		Certificate: certificate,
		datastores:  make(map[string]string),
		privileges:  privileges{revoked: make(map[string]bool)},
		delays:      make(map[string]time.Duration),
		gates:       make(map[types.ManagedObjectReference]*sync.Mutex),
		runs:        make(map[types.ManagedObjectReference]run),
		locks:       make(map[string]types.ManagedObjectReference),
		uploads:     make(map[[2]string]string),
	}
	if err := v.build(); err != nil {
		v.Close()
		return nil, fmt.Errorf("vcenter: %w", err)
	}
	if err := v.listen(); err != nil {
		v.Close()
		return nil, fmt.Errorf("vcenter: %w", err)
	}
	return v, nil
}

// build makes the inventory and the datastores' directories.
func (v *VCenter) build() error {
	// The datastores are made below, where we want them.
	v.model.Machine, v.model.Datastore, v.model.ClusterHost = 0, 0, v.cfg.Hosts
	if err := v.model.Create(); err != nil {
		return err
	}
	if v.cfg.Dir == "" {
		dir, err := os.MkdirTemp("", "imageport-vcenter-")
		if err != nil {
			return err
		}
		v.cfg.Dir, v.temporary = dir, dir
	}
	dir, err := filepath.Abs(v.cfg.Dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, v.model.Service)
	if err != nil {
		return err
	}
	hosts, err := find.NewFinder(client).HostSystemList(ctx, "/DC0/host/...")
	if err != nil {
		return err
	}
	for i := range v.cfg.Datastores {
		name := "LocalDS_" + strconv.Itoa(i)
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		v.datastores[name] = path
		for _, host := range hosts {
			system, err := host.ConfigManager().DatastoreSystem(ctx)
			if err != nil {
				return err
			}
			if _, err := system.CreateLocalDatastore(ctx, name, path); err != nil {
				return err
			}
		}
	}
	v.model.Map().Handler = v.dispatch
	return nil
}

// listen begins to serve.
func (v *VCenter) listen() (err error) {
	v.model.Service.TLS = v.TLS()
	v.model.Service.Listen = &url.URL{Host: v.cfg.Listen, User: url.UserPassword(v.cfg.Username, v.cfg.Password)}
	// The simulator panics if it cannot listen.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot listen on %s: %v", v.cfg.Listen, p)
		}
	}()
	v.model.Service.ServeMux = v.routes()
	v.server = v.model.Service.NewServer()
	return nil
}

// Close stops to serve, waits for the tasks that run, and switches the guests
// off. What is in Config.Dir stays.
func (v *VCenter) Close() { v.closing.Do(v.close) }

func (v *VCenter) close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	if v.server != nil {
		v.server.CloseClientConnections()
		v.server.Close()
	}
	v.tasks.Wait()
	v.mu.Lock()
	var names []string
	for _, r := range v.runs {
		names = append(names, r.name)
	}
	v.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if v.cfg.Guests != nil {
			v.cfg.Guests.PowerOff(name)
		}
	}
	if v.model.Service != nil {
		v.model.Remove()
	}
	if v.temporary != "" {
		_ = os.RemoveAll(v.temporary) // a leftover in the temporary directory harms nobody
	}
}

// Host is the address it listens on, without the port.
func (v *VCenter) Host() string { return v.server.URL.Hostname() }

// Port is the port it listens on.
func (v *VCenter) Port() int {
	port, _ := strconv.Atoi(v.server.URL.Port()) // of a listener: a number
	return port
}

// URL is that of the SOAP API, without user and password.
func (v *VCenter) URL() string {
	u := *v.server.URL
	u.User = nil
	return u.String()
}

// Username is the only one that may log in.
func (v *VCenter) Username() string { return v.cfg.Username }

// Password is that of Username.
func (v *VCenter) Password() string { return v.cfg.Password }

// Model is the simulator's inventory.
func (v *VCenter) Model() *simulator.Model { return v.model }

// Service is the simulator itself.
func (v *VCenter) Service() *simulator.Service { return v.model.Service }

// Inject makes calls fail as the rule says. A rule without Enabled and a
// probability of 0 is taken to be meant for every call, one without an object
// type or name for all objects.
func (v *VCenter) Inject(rule *simulator.FaultInjectionRule) {
	if !rule.Enabled && rule.Probability == 0 {
		rule.Enabled, rule.Probability = true, 1
	}
	rule.ObjectType = cmp.Or(rule.ObjectType, "*")
	rule.ObjectName = cmp.Or(rule.ObjectName, "*")
	v.model.Service.AddFaultRule(rule)
}

// ClearFaults takes back all of Inject.
func (v *VCenter) ClearFaults() { v.model.Service.ClearFaultRules() }
