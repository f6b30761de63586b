package vsphere

import (
	"context"
	"errors"
	"net"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/session/keepalive"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms/patience"
	"imageport/platforms/trust"
)

const (
	// keepAlive is how often a session is used at least: a vCenter forgets one
	// that was idle for 30 minutes.
	keepAlive        = 5 * time.Minute
	keepAliveTimeout = 30 * time.Second
	// settle is for how long a driver goes on when its context has ended, so
	// that what it has begun is not left behind without anybody's knowledge.
	settle = 10 * time.Second
	// beforeCancel is how much of it a task has to end by itself.
	beforeCancel = settle / 4
	// connections is how many calls are made at the same time without a new
	// connection for each.
	connections = 16
)

// session is a connection to a vCenter that has logged in, and logs in again
// when that is forgotten. It is a soap.RoundTripper.
type session struct {
	address            string // host:port
	username, password string
	trust              trust.Trust
	pauses             patience.Pauses
	wrap               func(soap.RoundTripper) soap.RoundTripper

	lock   chan struct{} // held by who connects or logs in
	client *vim25.Client // nil until connected; read after connect
	calls  soap.RoundTripper
	logins atomic.Int64           // how often it has logged in
	key    atomic.Pointer[string] // of the last one
	closed bool
}

func newSession(address, username, password string, t trust.Trust, cfg Config) *session {
	wrap := cfg.Wrap
	if wrap == nil {
		wrap = func(r soap.RoundTripper) soap.RoundTripper { return r }
	}
	return &session{
		address: address, username: username, password: password, trust: t, wrap: wrap,
		pauses: patience.Pauses{First: cfg.PollInterval, Longest: 10 * cfg.PollInterval},
		lock:   make(chan struct{}, 1),
	}
}

// errClosed is what is left of a session that was closed.
var errClosed = errors.New("the session was closed: the worker is stopping")

// hold takes the lock, unless ctx ends first.
func (s *session) hold(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.lock <- struct{}{}:
		return func() { <-s.lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connect gives the client, logged in.
func (s *session) connect(ctx context.Context) (*vim25.Client, error) {
	release, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if s.closed {
		return nil, errClosed
	}
	if s.client != nil {
		return s.client, nil
	}
	host, _, err := net.SplitHostPort(s.address)
	if err != nil {
		return nil, err
	}
	raw := soap.NewClient(&url.URL{Scheme: "https", Host: s.address, Path: vim25.Path}, false)
	transport := raw.DefaultTransport()
	// The certificate is checked where we connect: nobody connects for us.
	transport.Proxy = nil
	transport.TLSClientConfig = s.trust.Config(host)
	transport.DialTLSContext = s.trust.Dialer(s.address, raw.Thumbprint)
	transport.MaxIdleConnsPerHost = connections
	client, err := vim25.NewClient(ctx, raw)
	if err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	inner := s.wrap(raw)
	calls := keepalive.NewHandlerSOAP(inner, keepAlive, func() error {
		ctx, stop := context.WithTimeout(context.Background(), keepAliveTimeout)
		defer stop()
		_, err := methods.GetCurrentTime(ctx, inner)
		return err
	})
	client.RoundTripper = s
	if err := s.login(ctx, client, calls); err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	s.client, s.calls = client, calls
	return client, nil
}

func (s *session) login(ctx context.Context, client *vim25.Client, calls soap.RoundTripper) error {
	res, err := methods.Login(ctx, calls, &types.Login{
		This: *client.ServiceContent.SessionManager, UserName: s.username, Password: s.password, Locale: "en_US",
	})
	if err != nil {
		return err
	}
	s.key.Store(&res.Returnval.Key)
	s.logins.Add(1)
	return nil
}

// RoundTrip makes a call of the API. If the vCenter has forgotten the session,
// it logs in and makes the call once more. A call that changes something is
// not torn in the middle when ctx ends: its outcome is worth some seconds.
func (s *session) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if changes(method(req)) {
		var stop context.CancelFunc
		ctx, stop = patience.Outlast(ctx, settle)
		defer stop()
	}
	seen := s.logins.Load()
	err := s.calls.RoundTrip(ctx, req, res)
	if !forgotten(res, err) {
		return err
	}
	if err := s.again(ctx, seen); err != nil {
		return err
	}
	reflect.ValueOf(res).Elem().SetZero() // it holds the fault
	return s.calls.RoundTrip(ctx, req, res)
}

// again logs in, unless somebody did since.
func (s *session) again(ctx context.Context, seen int64) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if s.closed {
		return errClosed
	}
	if s.logins.Load() != seen {
		return nil
	}
	return s.login(ctx, s.client, s.calls)
}

// Close logs out. Nothing can be called any more.
func (s *session) Close(ctx context.Context) error {
	return fail(s.address, "log out", s.logout(ctx))
}

func (s *session) logout(ctx context.Context) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	s.closed = true
	if s.client == nil {
		return nil
	}
	_, err = methods.Logout(ctx, s.calls, &types.Logout{This: *s.client.ServiceContent.SessionManager})
	s.client.CloseIdleConnections()
	if _, ok := faultOf(err).(*types.NotAuthenticated); ok {
		return nil
	}
	return err
}

// method is the API's name of a request.
func method(req soap.HasFault) string {
	return strings.TrimSuffix(reflect.TypeOf(req).Elem().Name(), "Body")
}

// reading are the beginnings of the names of methods that change nothing.
var reading = []string{"Retrieve", "ContinueRetrieve", "Find", "Search", "Has", "Get", "CreateImportSpec", "Login", "Logout"}

// changes reports whether a method may change something.
func changes(method string) bool {
	for _, prefix := range reading {
		if strings.HasPrefix(method, prefix) {
			return false
		}
	}
	return true
}

// forgotten reports whether the vCenter does not know the session any more.
// Reading properties does not fail then: it gives none.
func forgotten(res soap.HasFault, err error) bool {
	if err != nil {
		_, ok := faultOf(err).(*types.NotAuthenticated)
		return ok
	}
	if r, ok := res.(*methods.RetrievePropertiesExBody); ok && r.Res != nil && r.Res.Returnval != nil {
		for _, o := range r.Res.Returnval.Objects {
			for _, m := range o.MissingSet {
				if _, ok := m.Fault.Fault.(*types.NotAuthenticated); ok {
					return true
				}
			}
		}
	}
	return false
}
