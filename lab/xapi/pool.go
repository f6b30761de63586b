package xapi

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"imageport/lab/guest"
	"imageport/lab/selfsigned"
)

// DefaultUsername is that of a pool's first administrator.
const DefaultUsername = "root"

// Config says what a Pool is like.
type Config struct {
	// Listen is the address of the coordinator, 127.0.0.1 and a free port by
	// default.
	Listen string
	// SupporterListen is the address of a second host of the pool, which sends
	// everybody to the coordinator, such as 127.0.0.2:0. There is none by
	// default. The port 0 is that of the coordinator: clients are told its
	// address alone, as every host has the same port.
	SupporterListen string
	// Dir is the directory of the VDIs. By default it is a temporary one, which
	// Close removes.
	Dir string
	// Username and Password are the only ones that may log in: DefaultUsername
	// and a random password by default.
	Username, Password string
	// Guests runs what is in the VMs. If nil, VMs are only said to run.
	Guests guest.Guests
	// DriversAfter is how long after it was started a VM's paravirtual drivers
	// are seen, without which nothing can be plugged.
	DriversAfter time.Duration
	// SRs are the storage repositories, DefaultSRs by default. The first one is
	// the pool's default.
	SRs []SR
	// Networks are their names, DefaultNetwork by default.
	Networks []string
	// Now is the pool's clock, time.Now by default.
	Now func() time.Time
}

// SR is a storage repository. Its disks are as large as they seem.
type SR struct {
	Name      string
	SizeBytes int64
	// Shared is of one that all hosts see. Another one is the coordinator's.
	Shared bool
}

// Names of what a pool has by default.
const (
	DefaultSR      = "Local storage"
	SharedSR       = "iSCSI virtual disk storage"
	DefaultNetwork = "Pool-wide network associated with eth0"
)

// DefaultSRs are those of a pool that is not told otherwise.
var DefaultSRs = []SR{{Name: DefaultSR, SizeBytes: 4 << 40}, {Name: SharedSR, SizeBytes: 16 << 40, Shared: true}}

// Pool is a simulated pool that listens. Its methods may be called at the same
// time.
type Pool struct {
	selfsigned.Certificate // of all hosts
	cfg                    Config
	dir                    string
	temporary              string // Config.Dir if it is ours to remove
	doors                  [2]*http.Server
	addresses              [2]*net.TCPAddr
	closing                chan struct{}
	tasks                  sync.WaitGroup
	once                   sync.Once

	mu                sync.Mutex
	closed            bool
	coordinator, pool string // references
	objects           map[string]map[string]record
	domains           int64                    // the last id
	runs              map[string]*run          // by the VM's reference
	cancels           map[string]chan struct{} // by the task that is cancelled by closing it
	landing           map[string]string        // by the task that runs: its method
	imports           map[string]int           // by the VDI's reference: who writes to it
	filled            map[string]int64         // by the SR's reference: what else is in it
	conns             map[net.Conn]bool        // that imports have taken over
	role              string
	revoked           map[string]bool
	faults            map[string][]*fault
	delays            map[string]time.Duration
	lands             map[string]bool
	hook              func(Call) bool
}

// Start starts a Pool: one or two hosts, their SRs and networks, two default
// templates, and no VMs but the hosts' own.
func Start(cfg Config) (*Pool, error) {
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	cfg.Username = cmp.Or(cfg.Username, DefaultUsername)
	cfg.Password = cmp.Or(cfg.Password, rand.Text())
	if len(cfg.SRs) == 0 {
		cfg.SRs = DefaultSRs
	}
	if len(cfg.Networks) == 0 {
		cfg.Networks = []string{DefaultNetwork}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Pool{
		cfg: cfg, closing: make(chan struct{}), role: roles[len(roles)-1],
		objects: make(map[string]map[string]record), runs: make(map[string]*run), cancels: make(map[string]chan struct{}),
		landing: make(map[string]string), imports: make(map[string]int), filled: make(map[string]int64),
		conns: make(map[net.Conn]bool), revoked: make(map[string]bool), faults: make(map[string][]*fault),
		delays: make(map[string]time.Duration), lands: make(map[string]bool),
	}
	if err := p.open(); err != nil {
		p.Close()
		return nil, fmt.Errorf("xapi: %w", err)
	}
	return p, nil
}

// open makes all that the pool has, and begins to serve.
func (p *Pool) open() error {
	dir := p.cfg.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "imageport-xapi-"); err != nil {
			return err
		}
		p.temporary = dir
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if p.dir = abs; os.MkdirAll(abs, 0o700) != nil {
		return fmt.Errorf("%s cannot be made", abs)
	}
	listeners, err := p.listen()
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(p.cfg.Listen) // what can be listened on can be split
	hosts := []string{host}
	if p.addresses[1] != nil {
		hosts = append(hosts, p.addresses[1].IP.String())
	}
	certificate, err := selfsigned.New("imageport lab XenServer", p.cfg.Now(), hosts...)
	if err != nil {
		for _, l := range listeners {
			_ = l.Close()
		}
		return fmt.Errorf("certificate: %w", err)
	}
	p.Certificate = certificate
	for i := range listeners {
		p.doors[i] = &http.Server{
			Handler:           &door{p: p, supporter: i == 1},
			ErrorLog:          log.New(io.Discard, "", 0), // of clients that do not trust the certificate
			ReadHeaderTimeout: time.Minute,
			// XAPI speaks no HTTP/2, in which nothing is chunked.
			TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		}
	}
	p.build()
	for i, l := range listeners {
		secure := tls.NewListener(l, p.TLS())
		go func() { _ = p.doors[i].Serve(secure) }() // until Close
	}
	return nil
}

// attempts is how often a port is looked for that two addresses have free.
const attempts = 20

// listen opens the pool's ports.
func (p *Pool) listen() ([]net.Listener, error) {
	for n := 1; ; n++ {
		first, err := net.Listen("tcp", p.cfg.Listen)
		if err != nil {
			return nil, err
		}
		p.addresses[0], _ = first.Addr().(*net.TCPAddr)
		if p.cfg.SupporterListen == "" {
			return []net.Listener{first}, nil
		}
		host, port, err := net.SplitHostPort(p.cfg.SupporterListen)
		if err == nil {
			if port == "0" {
				port = strconv.Itoa(p.Port())
			}
			var second net.Listener
			if second, err = net.Listen("tcp", net.JoinHostPort(host, port)); err == nil {
				p.addresses[1], _ = second.Addr().(*net.TCPAddr)
				return []net.Listener{first, second}, nil
			}
		}
		_ = first.Close()
		if n == attempts || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
}

// Close stops to serve, waits for the tasks that run, and switches the guests
// off. What is in Config.Dir stays.
func (p *Pool) Close() { p.once.Do(p.close) }

func (p *Pool) close() {
	p.mu.Lock()
	p.closed = true
	close(p.closing)
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	for _, d := range p.doors {
		if d != nil {
			_ = d.Close()
		}
	}
	p.tasks.Wait()
	p.mu.Lock()
	var names []string
	for _, r := range p.runs {
		names = append(names, r.name)
	}
	p.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		if p.cfg.Guests != nil {
			p.cfg.Guests.PowerOff(name)
		}
	}
	if p.temporary != "" {
		_ = os.RemoveAll(p.temporary) // a leftover in the temporary directory harms nobody
	}
}

// hold notes a connection that the server does not close any more. It is false
// when the pool is closed.
func (p *Pool) hold(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[conn] = true
	p.tasks.Add(1)
	return true
}

// release closes it.
func (p *Pool) release(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	p.tasks.Done()
}

// Host is the address that the coordinator listens on, without the port; that of
// this machine to itself if it listens everywhere.
func (p *Pool) Host() string {
	if p.addresses[0].IP.IsUnspecified() {
		return "127.0.0.1"
	}
	return p.addresses[0].IP.String()
}

// Port is the port that it listens on.
func (p *Pool) Port() int { return p.addresses[0].Port }

// URL is that of the coordinator, "https://host:port".
func (p *Pool) URL() string { return "https://" + net.JoinHostPort(p.Host(), strconv.Itoa(p.Port())) }

// SupporterHost is the address of the second host, "" if there is none.
func (p *Pool) SupporterHost() string {
	if p.addresses[1] == nil {
		return ""
	}
	return p.addresses[1].IP.String()
}

// SupporterPort is its port, 0 if there is none.
func (p *Pool) SupporterPort() int {
	if p.addresses[1] == nil {
		return 0
	}
	return p.addresses[1].Port
}

// Username is the only one that may log in.
func (p *Pool) Username() string { return p.cfg.Username }

// Password is that of Username.
func (p *Pool) Password() string { return p.cfg.Password }
