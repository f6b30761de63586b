package gce

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/lab/guest"
)

// Config says what a Cloud is like.
type Config struct {
	// Listen is the address to listen on, 127.0.0.1 and a free port by default.
	Listen string
	// Dir is the directory for the files of disks, images and objects. By default
	// it is a temporary one, which Close removes.
	Dir string
	// Project is the id of the only project, imageport-lab by default.
	Project string
	// Zones are those of the only region, by default lab-north1-a, -b and -c.
	Zones []string
	// Bucket is the name of the only bucket, imageport-lab by default.
	Bucket string
	// Network and Subnetwork are the only ones, both "default" by default.
	Network, Subnetwork string
	// Guests runs what is in the instances. If nil, they are only said to run.
	Guests guest.Guests
	// Before, if it is not nil, is called before each call of the API. Its error
	// fails the call; a *Fault fails it as one that was injected.
	Before func(Call) error
	// PageSize is how many resources a page of a list has at most, 500 by default.
	PageSize int
	// Now gives the time, by default time.Now.
	Now func() time.Time
}

// Call is one call of the API.
type Call struct {
	// Method is its name in the API, such as compute.instances.insert.
	Method string
	// Zone and Name say of what, where it has them.
	Zone, Name string
}

// Cloud is a simulated cloud that listens. Its methods may be called at the same
// time.
type Cloud struct {
	cfg       Config
	region    string
	key       *rsa.PrivateKey // of the service account
	server    *http.Server
	url       string
	temporary string // Config.Dir if it is ours to remove
	work      sync.WaitGroup
	closing   sync.Once
	closed    chan struct{}

	mu         sync.Mutex
	lastID     uint64
	lastBirth  time.Time
	tokens     map[string]bool
	instances  map[place]*instance
	disks      map[place]*disk
	images     map[string]*image
	operations map[string]*operation
	requests   map[string]*operation // by request id
	objects    map[string]*object
	uploads    map[string]*upload
	faults     faults
}

// accountKey is the key of the service accounts of all clouds of this process.
var accountKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// place is what a name in a zone stands for.
type place struct{ zone, name string }

// Start starts a Cloud.
func Start(cfg Config) (*Cloud, error) {
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	cfg.Project = cmp.Or(cfg.Project, "imageport-lab")
	cfg.Bucket = cmp.Or(cfg.Bucket, "imageport-lab")
	cfg.Network, cfg.Subnetwork = cmp.Or(cfg.Network, "default"), cmp.Or(cfg.Subnetwork, "default")
	cfg.PageSize = cmp.Or(cfg.PageSize, 500)
	if len(cfg.Zones) == 0 {
		cfg.Zones = []string{"lab-north1-a", "lab-north1-b", "lab-north1-c"}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Cloud{
		cfg: cfg, closed: make(chan struct{}),
		tokens: make(map[string]bool), instances: make(map[place]*instance), disks: make(map[place]*disk), images: make(map[string]*image),
		operations: make(map[string]*operation), requests: make(map[string]*operation), objects: make(map[string]*object), uploads: make(map[string]*upload),
		faults: newFaults(),
	}
	for _, zone := range cfg.Zones {
		cut := strings.LastIndexByte(zone, '-')
		if cut < 0 || c.region != "" && zone[:cut] != c.region {
			return nil, fmt.Errorf("gce: zone %q: want zones of one region, such as lab-north1-a", zone)
		}
		c.region = zone[:cut]
	}
	if err := c.open(); err != nil {
		c.Close()
		return nil, fmt.Errorf("gce: %w", err)
	}
	return c, nil
}

func (c *Cloud) open() (err error) {
	if c.key, err = accountKey(); err != nil {
		return err
	}
	if c.cfg.Dir == "" {
		if c.cfg.Dir, err = os.MkdirTemp("", "imageport-gce-"); err != nil {
			return err
		}
		c.temporary = c.cfg.Dir
	}
	if c.cfg.Dir, err = filepath.Abs(c.cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.cfg.Listen)
	if err != nil {
		return err
	}
	c.url = "http://" + listener.Addr().String()
	c.server = &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: time.Minute}
	c.work.Go(func() { _ = c.server.Serve(listener) }) // it ends with Close
	return nil
}

// Close stops to serve, waits for the operations that run, and switches the guests
// off. What is in Config.Dir stays.
func (c *Cloud) Close() { c.closing.Do(c.close) }

func (c *Cloud) close() {
	close(c.closed)
	if c.server != nil {
		c.server.Close()
	}
	c.work.Wait()
	c.mu.Lock()
	var names []string
	for _, in := range c.instances {
		in.stopTimer()
		if in.guest != "" {
			names = append(names, in.guest)
		}
	}
	c.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if c.cfg.Guests != nil {
			c.cfg.Guests.PowerOff(name)
		}
	}
	if c.temporary != "" {
		_ = os.RemoveAll(c.temporary) // a leftover in the temporary directory harms nobody
	}
}

// URL is where all APIs are.
func (c *Cloud) URL() string { return c.url }

// Project, Region, Zones and Bucket are what a request names.
func (c *Cloud) Project() string { return c.cfg.Project }

// Region is that of the zones.
func (c *Cloud) Region() string { return c.region }

// Zones are all zones.
func (c *Cloud) Zones() []string { return slices.Clone(c.cfg.Zones) }

// Bucket is the name of the bucket.
func (c *Cloud) Bucket() string { return c.cfg.Bucket }

// Dir is the directory of the files.
func (c *Cloud) Dir() string { return c.cfg.Dir }

// Instances gives all instances, in the order of zones and names.
func (c *Cloud) Instances() []*computepb.Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*computepb.Instance
	for _, at := range sorted(c.instances) {
		all = append(all, proto.Clone(c.instances[at].Instance).(*computepb.Instance))
	}
	return all
}

// Disks gives all disks, in the order of zones and names.
func (c *Cloud) Disks() []*computepb.Disk {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*computepb.Disk
	for _, at := range sorted(c.disks) {
		all = append(all, proto.Clone(c.disks[at].Disk).(*computepb.Disk))
	}
	return all
}

// DiskFile is the file with the content of a disk, "" if there is no such disk.
func (c *Cloud) DiskFile(zone, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.disks[place{zone, name}]; d != nil {
		return d.file
	}
	return ""
}

// Images gives the names of all images, sorted.
func (c *Cloud) Images() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for name := range c.images {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Objects gives the names of all objects in the bucket, sorted.
func (c *Cloud) Objects() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for name := range c.objects {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Settle waits until all operations that run have come to their end.
func (c *Cloud) Settle(ctx context.Context) error {
	for {
		c.mu.Lock()
		var next *operation
		for _, op := range c.operations {
			if op.Status == nil || op.GetStatus() != computepb.Operation_DONE {
				next = op
			}
		}
		c.mu.Unlock()
		if next == nil {
			return nil
		}
		select {
		case <-next.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sorted[T any](of map[place]T) []place {
	var all []place
	for at := range of {
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Or(cmp.Compare(a.zone, b.zone), cmp.Compare(a.name, b.name)) })
	return all
}

// newID gives the number of a new resource. The caller holds the lock.
func (c *Cloud) newID() uint64 {
	c.lastID++
	return 1_000_000_000_000_000_000 + c.lastID*7919
}

// stamp is the time as the API writes it.
func (c *Cloud) stamp() string { return c.cfg.Now().Format(timeFormat) }

const timeFormat = "2006-01-02T15:04:05.000-07:00"

// birth is the time at which a resource is made. No two have the same one: the real
// cloud takes longer than a millisecond for each. The caller holds the lock.
func (c *Cloud) birth() string {
	now := c.cfg.Now().Truncate(time.Millisecond)
	if !now.After(c.lastBirth) {
		now = c.lastBirth.Add(time.Millisecond)
	}
	c.lastBirth = now
	return now.Format(timeFormat)
}

func (c *Cloud) link(zone, collection, name string) string {
	return fmt.Sprintf("https://www.googleapis.com/compute/v1/projects/%s/zones/%s/%s/%s", c.cfg.Project, zone, collection, name)
}
