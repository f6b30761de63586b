package xenserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/trust"
	"imageport/platforms/xenserver/xapi"
)

// Config is the configuration of the platform XenServer. Which pool, and where in
// it, is for each request to say.
type Config struct {
	// Credential gives the user name and the password of a credential of the wallet.
	Credential func(ctx context.Context, id string) (username, password string, err error)
	// Appliance is the appliance's disk, raw or as a fixed VHD, which is imported
	// where a CE is made for the first time.
	Appliance string
	// MemoryMB is the memory of a CE in MiB, by default 1024.
	MemoryMB int
	// CPUs is the number of processors of a CE, by default 2.
	CPUs int
	// Now gives the time of creation, by default time.Now.
	Now func() time.Time
	// PollInterval is how soon a task is looked at again, by default 200 ms. The
	// longer it takes, the longer are the pauses, up to ten times that.
	PollInterval time.Duration
	// Wrap, if it is not nil, goes between the driver and the connection. Tests
	// count calls there, and let them fail.
	Wrap func(http.RoundTripper) http.RoundTripper
}

const (
	defaultMemoryMB, defaultCPUs = 1024, 2
	minMemoryMB, maxMemoryMB     = 64, 1 << 20
	maxCPUs                      = 32
	defaultPoll                  = 200 * time.Millisecond
	defaultPort                  = 443
	mib                          = 1 << 20
)

// Platform gives drivers, and holds the sessions that they share.
type Platform struct {
	cfg       Config
	appliance applianceFile

	mu      sync.Mutex
	pools   map[poolKey]*pool
	closed  bool
	imports map[string]chan struct{} // held by who imports the appliance there
}

// poolKey is what a session is shared by.
type poolKey struct {
	address, username string
	password          [sha256.Size]byte // one that was changed makes another session
	trust             [sha256.Size]byte
}

// pool is a session with a pool.
type pool struct {
	address  string // host:port, as the request has it
	username string
	client   *xapi.Client
	hosts    *hostKeys
}

// New gives the platform.
func New(cfg Config) (*Platform, error) {
	refuse := func(format string, args ...any) (*Platform, error) {
		return nil, platforms.Errorf(platforms.BadRequest, "XenServer platform: "+format, args...)
	}
	cfg.MemoryMB = cmp.Or(cfg.MemoryMB, defaultMemoryMB)
	cfg.CPUs = cmp.Or(cfg.CPUs, defaultCPUs)
	cfg.PollInterval = cmp.Or(cfg.PollInterval, defaultPoll)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	switch {
	case cfg.Credential == nil:
		return refuse("no source of credentials")
	case cfg.Appliance == "":
		return refuse("no appliance: want its disk, raw or as a fixed VHD")
	case cfg.MemoryMB < minMemoryMB || cfg.MemoryMB > maxMemoryMB:
		return refuse("%d MiB of memory: want %d to %d", cfg.MemoryMB, minMemoryMB, maxMemoryMB)
	case cfg.CPUs < 1 || cfg.CPUs > maxCPUs:
		return refuse("%d processors: want 1 to %d", cfg.CPUs, maxCPUs)
	case cfg.PollInterval < 0:
		return refuse("a poll interval of %v", cfg.PollInterval)
	}
	return &Platform{
		cfg: cfg, appliance: applianceFile{path: cfg.Appliance},
		pools: make(map[poolKey]*pool), imports: make(map[string]chan struct{}),
	}, nil
}

// Open is the platforms.Opener. It asks the pool nothing: the driver does that
// when it needs something.
func (p *Platform) Open(ctx context.Context, where job.Target) (platforms.Driver, error) {
	x := where.XenServer
	refuse := func(format string, args ...any) (platforms.Driver, error) {
		return nil, platforms.Errorf(platforms.BadRequest, "XenServer: "+format, args...)
	}
	for _, need := range []struct{ field, value string }{
		{"xenHost", x.XenHost}, {"storageRepositoryUuid", x.StorageRepositoryUUID},
		{"network", where.Network}, {"platformCredentialId", where.PlatformCredentialID},
	} {
		if need.value == "" {
			return refuse("the request has no %s", need.field)
		}
	}
	if _, err := uuid.Parse(x.StorageRepositoryUUID); err != nil {
		return refuse("storageRepositoryUuid %q: want the UUID of a storage repository (xe sr-list)", x.StorageRepositoryUUID)
	}
	if x.XenPort < 0 || x.XenPort > 65535 {
		return refuse("xenPort is %d", x.XenPort)
	}
	address := net.JoinHostPort(x.XenHost, strconv.Itoa(cmp.Or(x.XenPort, defaultPort)))
	accepted, err := trust.Parse(trust.Wish{
		CACertificate: x.XenSSLCACertificate, CAField: "xenSslCaCertificate",
		Fingerprint: x.XenSSLFingerprint, FingerprintField: "xenSslFingerprint", AnyName: x.XenSSLNoCheckHostname,
	})
	if err != nil {
		return refuse("%s: %w", address, err)
	}
	username, password, err := p.cfg.Credential(ctx, where.PlatformCredentialID)
	if err != nil {
		if _, ok := errors.AsType[*job.Error](err); ok {
			return nil, err // the wallet says it best
		}
		return nil, fail(address, "credential "+where.PlatformCredentialID, err)
	}
	key := poolKey{address: address, username: username, password: sha256.Sum256([]byte(password)), trust: accepted.Sum()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, platforms.Errorf(platforms.Busy, "XenServer: the worker is stopping")
	}
	shared, ok := p.pools[key]
	if !ok {
		shared = newPool(address, username, password, accepted, x.XenSSLFingerprint, p.cfg)
		p.pools[key] = shared
	}
	return &Driver{p: p, pool: shared, where: where}, nil
}

func newPool(address, username, password string, t trust.Trust, fingerprint string, cfg Config) *pool {
	hosts := &hostKeys{}
	if t.Pinned() {
		hosts.pin = fingerprint
	}
	return &pool{
		address: address, username: username, hosts: hosts,
		client: xapi.New(xapi.Config{
			Address: address, Username: username, Password: password, Poll: cfg.PollInterval, Wrap: cfg.Wrap,
			DialTLS: t.Dialer(address, hosts.fingerprint),
		}),
	}
}

// Close logs all sessions out. Nothing can be opened any more.
func (p *Platform) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	pools := p.pools
	p.pools = nil
	p.mu.Unlock()
	var errs []error
	for _, s := range pools {
		if err := s.client.Close(ctx); err != nil {
			errs = append(errs, fail(s.address, "log out", err))
		}
	}
	return errors.Join(errs...)
}

// Driver is the platforms.Driver for one place in one pool.
type Driver struct {
	*pool
	p     *Platform
	where job.Target
}

var (
	_ platforms.Driver      = (*Driver)(nil)
	_ platforms.OutputDisks = (*Driver)(nil)
	_ platforms.Guests      = (*Driver)(nil)
)

// fail says what the verb failed at.
func (d *Driver) fail(verb, name string, err error) error {
	return fail(d.address, verb+" "+name, err)
}
