package gcp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/appliancefile"
)

// Config is the configuration of the platform GCP. Which project, zones and
// network is for each request to say.
type Config struct {
	// Credential gives a credential of the wallet.
	Credential func(ctx context.Context, id string) (Credential, error)
	// Appliance is the appliance's tarball for Google Cloud, which is imported
	// into a project where a CE is made for the first time, by way of Bucket.
	// Image is an image of the appliance that is there already, or a family:
	// "projects/P/global/images/NAME", "projects/P/global/images/family/NAME". It
	// is one of the two.
	Appliance, Image string
	// Bucket is the name of the bucket that the appliance is uploaded to. The
	// object is deleted when it was imported.
	Bucket string
	// MachineType is the machine type of CEs for which the request names none,
	// by default e2-medium.
	MachineType string
	// Now gives the time, by default time.Now.
	Now func() time.Time
	// RequestID gives the id of an attempt, a UUID, by default a random one.
	RequestID func() string
	// PollInterval is how soon is looked again at what others are at work on, by
	// default 1 s. The longer it takes, the longer are the pauses, up to ten
	// times that.
	PollInterval time.Duration
	// Endpoint is the URL of a server that stands in for all of Google Cloud, ""
	// for the cloud itself.
	Endpoint string
	// Transport makes the connections, by default as http.DefaultTransport does.
	Transport http.RoundTripper
	// Wrap, if it is not nil, goes between the driver and the connection. Tests
	// count calls there, and let them fail.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Credential is whom the driver is in the Google Cloud. Which of the two ways is
// chosen, never found out.
type Credential struct {
	// ProjectID is the project of requests that name none. Without, it is the
	// key's.
	ProjectID string
	// KeyJSON is the key file of a service account.
	KeyJSON []byte
	// ApplicationDefault takes what the worker's environment has in place of a
	// key: the service account of the instance that it runs on, workload identity.
	ApplicationDefault bool
}

const (
	// defaultMachineType has two processors that may be used in full for minutes,
	// and disks and a network that are hardly slower than those of the bigger
	// ones of its family, for half of their price.
	defaultMachineType = "e2-medium"
	defaultPoll        = time.Second
)

// Platform gives drivers, and holds the connections that they share.
type Platform struct {
	cfg       Config
	appliance *appliancefile.File[digests]

	mu          sync.Mutex
	connections map[[sha256.Size]byte]*connection // by credential
	closed      bool
	imported    map[string]bool // paths of images that are known to be complete
}

// New gives the platform.
func New(cfg Config) (*Platform, error) {
	refuse := func(format string, args ...any) (*Platform, error) {
		return nil, platforms.Errorf(platforms.BadRequest, "GCP platform: "+format, args...)
	}
	cfg.MachineType = cmp.Or(cfg.MachineType, defaultMachineType)
	cfg.PollInterval = cmp.Or(cfg.PollInterval, defaultPoll)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.RequestID == nil {
		cfg.RequestID = uuid.NewString
	}
	switch {
	case cfg.Credential == nil:
		return refuse("no source of credentials")
	case (cfg.Appliance == "") == (cfg.Image == ""):
		return refuse("want either the appliance's tarball or an image of it")
	case (cfg.Appliance == "") != (cfg.Bucket == ""):
		return refuse("want a bucket for the appliance's tarball, and none for an image")
	case cfg.Image != "" && !imagePattern.MatchString(cfg.Image):
		return refuse("image %q: want projects/PROJECT/global/images/NAME or projects/PROJECT/global/images/family/NAME", cfg.Image)
	case !namePattern.MatchString(cfg.MachineType):
		return refuse("machine type %q", cfg.MachineType)
	case cfg.PollInterval < 0:
		return refuse("a poll interval of %v", cfg.PollInterval)
	}
	return &Platform{
		cfg: cfg, appliance: newTarball(cfg.Appliance),
		connections: make(map[[sha256.Size]byte]*connection), imported: make(map[string]bool),
	}, nil
}

// Open is the platforms.Opener. It asks the cloud nothing: the driver does that
// when it needs something.
func (p *Platform) Open(ctx context.Context, where job.Target) (platforms.Driver, error) {
	if where.PlatformCredentialID == "" {
		return nil, platforms.Errorf(platforms.BadRequest, "GCP: the request has no platformCredentialId")
	}
	cred, err := p.cfg.Credential(ctx, where.PlatformCredentialID)
	if err != nil {
		if _, ok := errors.AsType[*job.Error](err); ok {
			return nil, err // the wallet says it best
		}
		return nil, fail("", "credential "+where.PlatformCredentialID, err)
	}
	if (len(cred.KeyJSON) == 0) != cred.ApplicationDefault {
		return nil, platforms.Errorf(platforms.BadRequest, "GCP: credential %s: want either a key or the application default credentials", where.PlatformCredentialID)
	}
	place, err := p.place(where, cmp.Or(where.GCPProject, cred.ProjectID, keyProject(cred.KeyJSON)))
	if err != nil {
		return nil, err
	}
	c, err := p.connect(ctx, cred)
	if err != nil {
		return nil, fail(place.project, "credential "+where.PlatformCredentialID, err)
	}
	return &Driver{connection: c, p: p, place: place}, nil
}

// connect gives the connection for a credential, which its drivers share.
func (p *Platform) connect(ctx context.Context, cred Credential) (*connection, error) {
	key := sha256.Sum256(cred.KeyJSON) // one that was changed makes another connection
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, platforms.Errorf(platforms.Busy, "the worker is stopping")
	}
	c, ok := p.connections[key]
	if !ok {
		var err error
		if c, err = newConnection(ctx, p.cfg, cred); err != nil {
			return nil, err
		}
		p.connections[key] = c
	}
	return c, nil
}

// keyProject gives the project of a service account's key, "" if it has none.
func keyProject(key []byte) string {
	var j struct {
		ProjectID string `json:"project_id"`
	}
	_ = json.Unmarshal(key, &j) // what is wrong with it is said where it is used
	return j.ProjectID
}

// Close closes all connections. Nothing can be opened any more.
func (p *Platform) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, c := range p.connections {
		errs = append(errs, c.close())
	}
	p.connections = nil
	return errors.Join(errs...)
}

// Driver is the platforms.Driver for one place in one project.
type Driver struct {
	*connection
	p     *Platform
	place place
}

var (
	_ platforms.Driver      = (*Driver)(nil)
	_ platforms.OutputDisks = (*Driver)(nil)
)

// fail says what the verb failed at.
func (d *Driver) fail(verb, name string, err error) error {
	return fail(d.place.project, verb+" "+name, err)
}
