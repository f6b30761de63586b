package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/cloudresourcemanager/v1"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"

	"imageport/platforms"
	"imageport/platforms/patience"
)

const (
	scope = "https://www.googleapis.com/auth/cloud-platform"
	// tokenPatience is how long a token may take. Calls themselves end with their
	// context: the cloud may take minutes to answer one that waits.
	tokenPatience = 30 * time.Second
)

// connection is what the drivers of one credential share.
type connection struct {
	pauses     patience.Pauses
	instances  *compute.InstancesClient
	disks      *compute.DisksClient
	images     *compute.ImagesClient
	machines   *compute.MachineTypesClient
	subnets    *compute.SubnetworksClient
	zoneOps    *compute.ZoneOperationsClient
	globalOps  *compute.GlobalOperationsClient
	storage    *storage.Service
	projects   *cloudresourcemanager.Service
	http       *http.Client
	closeables []interface{ Close() error }
}

func newConnection(ctx context.Context, cfg Config, cred Credential) (*connection, error) {
	base := cfg.Transport
	if base == nil {
		base = http.DefaultTransport.(*http.Transport).Clone()
	}
	transport := http.RoundTripper(&authorized{base: base, source: tokenSource(base, cred)})
	if cfg.Wrap != nil {
		transport = cfg.Wrap(transport)
	}
	c := &connection{pauses: patience.Pauses{First: cfg.PollInterval, Longest: 10 * cfg.PollInterval}, http: &http.Client{Transport: transport}}
	endpoint := func(path string) []option.ClientOption {
		o := []option.ClientOption{option.WithHTTPClient(c.http)}
		if cfg.Endpoint != "" {
			o = append(o, option.WithEndpoint(strings.TrimSuffix(cfg.Endpoint, "/")+path))
		}
		return o
	}
	if err := c.openCompute(ctx, endpoint("")); err != nil {
		return nil, err
	}
	var err error
	if c.storage, err = storage.NewService(ctx, endpoint("/storage/v1/")...); err != nil {
		return nil, err
	}
	c.projects, err = cloudresourcemanager.NewService(ctx, endpoint("/")...)
	return c, err
}

// openCompute makes the clients of the Compute Engine API, without the retries of
// their own: those take up to ten minutes for what the job is to know of at once.
func (c *connection) openCompute(ctx context.Context, o []option.ClientOption) (err error) {
	if c.instances, err = compute.NewInstancesRESTClient(ctx, o...); err != nil {
		return err
	}
	if c.disks, err = compute.NewDisksRESTClient(ctx, o...); err != nil {
		return err
	}
	if c.images, err = compute.NewImagesRESTClient(ctx, o...); err != nil {
		return err
	}
	if c.machines, err = compute.NewMachineTypesRESTClient(ctx, o...); err != nil {
		return err
	}
	if c.subnets, err = compute.NewSubnetworksRESTClient(ctx, o...); err != nil {
		return err
	}
	if c.zoneOps, err = compute.NewZoneOperationsRESTClient(ctx, o...); err != nil {
		return err
	}
	if c.globalOps, err = compute.NewGlobalOperationsRESTClient(ctx, o...); err != nil {
		return err
	}
	*c.instances.CallOptions = compute.InstancesCallOptions{}
	*c.disks.CallOptions = compute.DisksCallOptions{}
	*c.images.CallOptions = compute.ImagesCallOptions{}
	*c.machines.CallOptions = compute.MachineTypesCallOptions{}
	*c.subnets.CallOptions = compute.SubnetworksCallOptions{}
	*c.zoneOps.CallOptions = compute.ZoneOperationsCallOptions{}
	*c.globalOps.CallOptions = compute.GlobalOperationsCallOptions{}
	c.closeables = []interface{ Close() error }{c.instances, c.disks, c.images, c.machines, c.subnets, c.zoneOps, c.globalOps}
	return nil
}

func (c *connection) close() error {
	var errs []error
	for _, client := range c.closeables {
		errs = append(errs, client.Close())
	}
	c.http.CloseIdleConnections()
	return errors.Join(errs...)
}

// tokenSource gives what gives tokens for a credential; each gets a new one first.
func tokenSource(base http.RoundTripper, cred Credential) func() (oauth2.TokenSource, error) {
	// A token is for more calls than the one that needs it first.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: base, Timeout: tokenPatience})
	return func() (oauth2.TokenSource, error) {
		if cred.ApplicationDefault {
			found, err := google.FindDefaultCredentials(ctx, scope)
			if err != nil {
				return nil, platforms.Errorf(platforms.Denied, "application default credentials: %w", err)
			}
			return found.TokenSource, nil
		}
		cfg, err := google.JWTConfigFromJSON(cred.KeyJSON, scope)
		if err != nil {
			// Its words may quote the key.
			return nil, platforms.Errorf(platforms.Denied, "the credential's key is not the key file of a service account")
		}
		return cfg.TokenSource(ctx), nil
	}
}

// authorized adds a token to requests. One that the cloud does not take any more
// although it should is renewed, and the request made once more: without a token
// it has done nothing.
type authorized struct {
	base   http.RoundTripper
	source func() (oauth2.TokenSource, error)

	mu      sync.Mutex
	current oauth2.TokenSource // nil if it has to be made anew
}

// RoundTrip implements http.RoundTripper.
func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	res, used, err := a.try(r)
	if err != nil || res.StatusCode != http.StatusUnauthorized || r.Body != nil && r.GetBody == nil {
		return res, err
	}
	a.forget(used)
	again := r.Clone(r.Context())
	if r.Body != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return res, nil
		}
	}
	res.Body.Close()
	res, _, err = a.try(again)
	return res, err
}

func (a *authorized) try(r *http.Request) (*http.Response, oauth2.TokenSource, error) {
	source, err := a.tokens()
	if err == nil {
		var token *oauth2.Token
		if token, err = source.Token(); err == nil {
			r = r.Clone(r.Context())
			token.SetAuthHeader(r)
			res, err := a.base.RoundTrip(r)
			return res, source, err
		}
		err = tokenError(err)
	}
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, nil, err
}

// tokenError says why there is no token. What comes of neither the service nor the
// way to it comes of the key.
func tokenError(err error) error {
	_, ofService := errors.AsType[*oauth2.RetrieveError](err)
	_, ofWay := errors.AsType[*url.Error](err)
	if !ofService && !ofWay {
		return platforms.Errorf(platforms.Denied, "get a token: the credential cannot be used: %w", err)
	}
	return fmt.Errorf("get a token: %w", err)
}

func (a *authorized) tokens() (oauth2.TokenSource, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		var err error
		if a.current, err = a.source(); err != nil {
			return nil, err
		}
	}
	return a.current, nil
}

func (a *authorized) forget(source oauth2.TokenSource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == source {
		a.current = nil
	}
}
