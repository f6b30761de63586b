package xenserver

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/appliancefile"
	"imageport/platforms/sessions"
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
	appliance *appliancefile.File[*image]
	pools     *sessions.Pool[*pool]
	imports   appliancefile.Turns // by the storage repository
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
		cfg: cfg, appliance: newApplianceFile(cfg.Appliance),
		pools: sessions.NewPool[*pool](cfg.Now),
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
	shared, err := p.pools.Get(ctx, sessions.KeyOf(address, username, password, accepted.Sum()), func() *pool {
		return newPool(address, username, password, accepted, x.XenSSLFingerprint, p.cfg)
	})
	if err != nil {
		return nil, fail(address, "open", err)
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

// Close logs out. Nothing can be called any more.
func (p *pool) Close(ctx context.Context) error {
	return fail(p.address, "log out", p.client.Close(ctx))
}

// Close logs all sessions out. Nothing can be opened any more.
func (p *Platform) Close(ctx context.Context) error { return p.pools.Close(ctx) }

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
