package xapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"imageport/platforms/patience"
)

const (
	// connections is how many calls are made at the same time without a new
	// connection for each.
	connections = 16
	// apiVersion is what every pool of the last ten years understands.
	apiVersion = "2.0"
	// originator is what the pool's log calls our sessions.
	originator = "imageport"

	defaultPoll   = 200 * time.Millisecond
	defaultSettle = 10 * time.Second
)

// Config says which pool, and how to reach it.
type Config struct {
	// Address is that of the pool's coordinator, or of any of its hosts, host:port.
	Address            string
	Username, Password string
	// DialTLS connects to a host, and checks its certificate.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)
	// Poll is how soon a task is looked at again, by default 200 ms. The longer
	// it takes, the longer are the pauses, up to ten times that.
	Poll time.Duration
	// Settle is for how long the client goes on when its context has ended, by
	// default 10 s, so that what it has begun is not left behind without
	// anybody's knowledge.
	Settle time.Duration
	// Wrap, if it is not nil, goes between the client and the connection.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Client is a session with a pool. Its methods may be called at the same time.
type Client struct {
	cfg   Config
	calls *http.Transport
	http  *http.Client

	lock    chan struct{} // held by who reads or changes what follows
	address string        // where the session is
	session Ref           // "" if there is none
	logins  int64         // how often it has logged in
	closed  bool
}

// New gives a client. It asks the pool nothing yet.
func New(cfg Config) *Client {
	if cfg.Poll <= 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Settle <= 0 {
		cfg.Settle = defaultSettle
	}
	// A proxy would check the certificate in our place; HTTP/2 is unknown to XAPI.
	calls := &http.Transport{DialTLSContext: cfg.DialTLS, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute}
	var way http.RoundTripper = &transport{calls: calls, dial: cfg.DialTLS}
	if cfg.Wrap != nil {
		way = cfg.Wrap(way)
	}
	return &Client{
		cfg: cfg, calls: calls, lock: make(chan struct{}, 1),
		http: &http.Client{Transport: way, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// hold takes the lock, unless ctx ends first.
func (c *Client) hold(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.lock <- struct{}{}:
		return func() { <-c.lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// place is where a call goes, and by which session.
type place struct {
	address string
	session Ref
	login   int64 // number of the login
}

// connect gives the session, another one than that of the login stale.
func (c *Client) connect(ctx context.Context, stale int64) (place, error) {
	release, err := c.hold(ctx)
	if err != nil {
		return place{}, err
	}
	defer release()
	if c.closed {
		return place{}, ErrClosed
	}
	if c.session == "" || c.logins == stale {
		c.session = ""
		if err := c.login(ctx); err != nil {
			return place{}, err
		}
	}
	return place{c.address, c.session, c.logins}, nil
}

// login makes a session, at the coordinator if it is sent there.
func (c *Client) login(ctx context.Context) error {
	address := c.cfg.Address
	for hop := 0; ; hop++ {
		err := c.post(ctx, address, "session.login_with_password", &c.session, c.cfg.Username, c.cfg.Password, apiVersion, originator)
		if err == nil {
			c.address = address
			c.logins++
			return nil
		}
		e, ok := errors.AsType[*Error](err)
		switch {
		case ok && e.Code == codeHostIsSlave && e.Param(0) != "" && hop == 0:
			address = c.sibling(e.Param(0))
		case hop > 0:
			return fmt.Errorf("log in to %s, to which %s refers as the pool's coordinator: %w", address, c.cfg.Address, err)
		default:
			return fmt.Errorf("log in to %s: %w", address, err)
		}
	}
}

// sibling is the address of another host of the pool. All have the same port.
func (c *Client) sibling(host string) string {
	_, port, err := net.SplitHostPort(c.cfg.Address)
	if err != nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// Call calls a method ("VM.get_record") with the session and the params, and
// reads its result into out, unless that is nil. Failures of the pool are of
// type *Error.
func (c *Client) Call(ctx context.Context, method string, out any, params ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if Changes(method) {
		var stop context.CancelFunc
		ctx, stop = patience.Outlast(ctx, c.cfg.Settle)
		defer stop()
	}
	_, err := c.call(ctx, method, out, params...)
	return err
}

// call gives also by which session the call was made.
func (c *Client) call(ctx context.Context, method string, out any, params ...any) (place, error) {
	p, err := c.connect(ctx, 0)
	if err != nil {
		return p, err
	}
	err = c.post(ctx, p.address, method, out, p.params(params)...)
	if code := CodeOf(err); code != codeSessionInvalid && code != codeHostIsSlave {
		return p, wrap(method, err)
	}
	if p, err = c.connect(ctx, p.login); err != nil {
		return p, err
	}
	return p, wrap(method, c.post(ctx, p.address, method, out, p.params(params)...))
}

func wrap(method string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", method, err)
}

// params gives what a method is called with.
func (p place) params(params []any) []any {
	all := append(make([]any, 0, len(params)+1), p.session)
	for _, param := range params {
		if param == OwnSession {
			param = p.session
		}
		all = append(all, param)
	}
	return all
}

// post makes one call.
func (c *Client) post(ctx context.Context, address, method string, out any, params ...any) error {
	body, err := encode(method, params)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/jsonrpc", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return statusError(res)
	}
	return decode(res.Body, out)
}

// Close logs out. Nothing can be called any more.
func (c *Client) Close(ctx context.Context) error {
	release, err := c.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	defer c.calls.CloseIdleConnections()
	c.closed = true
	if c.session == "" {
		return nil
	}
	err = c.post(ctx, c.address, "session.logout", nil, c.session)
	c.session = ""
	if code := CodeOf(err); code == codeSessionInvalid || code == codeHostIsSlave {
		return nil
	}
	return wrap("session.logout", err)
}

// Changes reports whether a method may change something on the pool other than
// sessions.
func Changes(method string) bool {
	_, op, _ := strings.Cut(strings.TrimPrefix(method, "Async."), ".")
	for _, prefix := range []string{"get_", "compute_", "login_", "logout"} {
		if strings.HasPrefix(op, prefix) {
			return false
		}
	}
	return true
}
