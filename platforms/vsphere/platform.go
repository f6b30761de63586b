package vsphere

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vim25/soap"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/appliancefile"
	"imageport/platforms/sessions"
	"imageport/platforms/trust"
)

// Config is the configuration of the platform vSphere. Which vCenter, and where
// in it, is for each request to say.
type Config struct {
	// Credential gives the user name and the password of a credential of the wallet.
	Credential func(ctx context.Context, id string) (username, password string, err error)
	// Appliance is the appliance's OVA, which is imported where a CE is made for
	// the first time. Template is the name or the inventory path of a template
	// of the appliance. It is one of the two.
	Appliance, Template string
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
	Wrap func(soap.RoundTripper) soap.RoundTripper
}

const (
	defaultMemoryMB, defaultCPUs = 1024, 2
	minMemoryMB, maxMemoryMB     = 64, 1 << 20
	maxCPUs                      = 64
	defaultPoll                  = 200 * time.Millisecond
	defaultPort                  = 443
)

// Platform gives drivers, and holds the sessions that they share.
type Platform struct {
	cfg      Config
	ova      *appliancefile.File[*ova]
	sessions *sessions.Pool[*session]
	imports  appliancefile.Turns // by the template
}

// New gives the platform.
func New(cfg Config) (*Platform, error) {
	refuse := func(format string, args ...any) (*Platform, error) {
		return nil, platforms.Errorf(platforms.BadRequest, "vSphere platform: "+format, args...)
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
	case (cfg.Appliance == "") == (cfg.Template == ""):
		return refuse("want either the appliance's OVA or a template of it")
	case cfg.MemoryMB < minMemoryMB || cfg.MemoryMB > maxMemoryMB || cfg.MemoryMB%4 != 0:
		return refuse("%d MiB of memory: want %d to %d, a multiple of 4", cfg.MemoryMB, minMemoryMB, maxMemoryMB)
	case cfg.CPUs < 1 || cfg.CPUs > maxCPUs:
		return refuse("%d processors: want 1 to %d", cfg.CPUs, maxCPUs)
	case cfg.PollInterval < 0:
		return refuse("a poll interval of %v", cfg.PollInterval)
	}
	return &Platform{
		cfg: cfg, ova: newOVAFile(cfg.Appliance),
		sessions: sessions.NewPool[*session](cfg.Now),
	}, nil
}

// Open is the platforms.Opener. It asks the vCenter nothing: the driver does
// that when it needs something.
func (p *Platform) Open(ctx context.Context, where job.Target) (platforms.Driver, error) {
	v := where.VSphere
	for _, need := range []struct{ field, value string }{
		{"vCenterHost", v.VCenterHost}, {"datacenter", v.Datacenter}, {"datastore", v.Datastore},
		{"network", where.Network}, {"platformCredentialId", where.PlatformCredentialID},
	} {
		if need.value == "" {
			return nil, platforms.Errorf(platforms.BadRequest, "vSphere: the request has no %s", need.field)
		}
	}
	if (v.Cluster == "") == (v.HostSystem == "") {
		return nil, platforms.Errorf(platforms.BadRequest, "vSphere: the request must have exactly one of cluster and hostSystem")
	}
	if v.VCenterPort < 0 || v.VCenterPort > 65535 {
		return nil, platforms.Errorf(platforms.BadRequest, "vSphere: vCenterPort is %d", v.VCenterPort)
	}
	address := net.JoinHostPort(v.VCenterHost, strconv.Itoa(cmp.Or(v.VCenterPort, defaultPort)))
	accepted, err := trust.Parse(trust.Wish{
		CACertificate: v.VCenterSSLCACertificate, CAField: "vCenterSslCaCertificate",
		Fingerprint: v.VCenterSSLFingerprint, FingerprintField: "vCenterSslFingerprint", AnyName: v.VCenterSSLNoCheckHostname,
	})
	if err != nil {
		return nil, platforms.Errorf(platforms.BadRequest, "vSphere: vCenter %s: %w", address, err)
	}
	username, password, err := p.cfg.Credential(ctx, where.PlatformCredentialID)
	if err != nil {
		if _, ok := errors.AsType[*job.Error](err); ok {
			return nil, err // the wallet says it best
		}
		return nil, fail(address, "credential "+where.PlatformCredentialID, err)
	}
	shared, err := p.sessions.Get(ctx, sessions.KeyOf(address, username, password, accepted.Sum()), func() *session {
		return newSession(address, username, password, accepted, p.cfg)
	})
	if err != nil {
		return nil, fail(address, "open", err)
	}
	return &Driver{p: p, session: shared, where: where}, nil
}

// Close logs all sessions out. Nothing can be opened any more.
func (p *Platform) Close(ctx context.Context) error { return p.sessions.Close(ctx) }

// Driver is the platforms.Driver for one place in one vCenter.
type Driver struct {
	*session
	p     *Platform
	where job.Target
	known atomic.Pointer[site] // what the names of where stand for, once that is known
}

var (
	_ platforms.Driver      = (*Driver)(nil)
	_ platforms.OutputDisks = (*Driver)(nil)
	_ platforms.OutputVMs   = (*Driver)(nil)
	_ platforms.Guests      = (*Driver)(nil)
)

// fail says what the verb failed at.
func (d *Driver) fail(verb, name string, err error) error {
	return fail(d.address, verb+" "+name, err)
}
