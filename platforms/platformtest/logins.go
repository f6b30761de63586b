package platformtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/lab/selfsigned"
	"imageport/platforms"
)

// Passwords is the source of a platform's credentials.
type Passwords func(ctx context.Context, id string) (username, password string, err error)

// Server is a Harness of a platform whose server one logs in to by a password, and
// that proves itself by a certificate.
type Server interface {
	Sessions
	// Platform gives a platform such as a worker has that just started.
	Platform(t testing.TB, credential Passwords) Platform
	// Login is what Passwords are to give.
	Login() (username, password string)
	// Target is the place of the drivers; with a proof, it is trusted by that only, and
	// at that host and port if there is a host.
	Target(by *Proof) job.Target
	// Port is where the server listens on 127.0.0.1.
	Port() int
	// CertificatePEM and Fingerprint are of the server's certificate, its own CA.
	CertificatePEM() string
	Fingerprint() string
	// CountSessions counts those that are open.
	CountSessions() int
}

// Proof is by what a server is trusted.
type Proof struct {
	Fingerprint, CA string
	AnyName         bool
	Host            string
	Port            int
}

func passwords(s Server) Passwords {
	return func(context.Context, string) (string, string, error) {
		username, password := s.Login()
		return username, password, nil
	}
}

func testTrust(t *testing.T, h Harness) {
	s := h.(Server)
	ca := s.CertificatePEM()
	stranger, err := selfsigned.New("another", time.Now(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	other := stranger.CertificatePEM()
	right := strings.ReplaceAll(s.Fingerprint(), ":", "")
	wrong := "00" + right[2:]
	for what, tc := range map[string]struct {
		by   Proof
		kind platforms.Kind
		in   string
	}{
		"fingerprint":                       {by: Proof{Fingerprint: right}},
		"fingerprint, another name":         {by: Proof{Fingerprint: right, Host: "127.0.0.3"}},
		"fingerprint and CA":                {by: Proof{Fingerprint: right, CA: ca}},
		"CA":                                {by: Proof{CA: ca}},
		"CA in one line":                    {by: Proof{CA: strings.ReplaceAll(ca, "\n", `\n`)}},
		"CA of several":                     {by: Proof{CA: other + ca}},
		"CA, another name, no name check":   {by: Proof{CA: ca, Host: "127.0.0.3", AnyName: true}},
		"nothing":                           {Proof{}, platforms.Denied, "authority"},
		"nothing, no name check":            {Proof{AnyName: true}, platforms.Denied, "authority"},
		"wrong fingerprint":                 {Proof{Fingerprint: wrong}, platforms.Denied, right},
		"wrong fingerprint, no name check":  {Proof{Fingerprint: wrong, AnyName: true}, platforms.Denied, right},
		"wrong fingerprint, right CA":       {Proof{Fingerprint: wrong, CA: ca}, platforms.Denied, right},
		"right fingerprint, wrong CA":       {Proof{Fingerprint: right, CA: other}, platforms.Denied, "authority"},
		"wrong CA":                          {Proof{CA: other}, platforms.Denied, "authority"},
		"CA, another name":                  {Proof{CA: ca, Host: "127.0.0.3"}, platforms.Denied, "127.0.0.3"},
		"wrong CA, no name check":           {Proof{CA: other, AnyName: true}, platforms.Denied, "authority"},
		"no such host":                      {Proof{Fingerprint: right, Host: "server.invalid"}, platforms.NotFound, "server.invalid"},
		"what is no fingerprint":            {Proof{Fingerprint: "abc"}, platforms.BadRequest, "SslFingerprint"},
		"what is no certificate":            {Proof{CA: "abc"}, platforms.BadRequest, "SslCaCertificate"},
		"a key":                             {Proof{CA: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, platforms.BadRequest, "PRIVATE KEY"},
		"a certificate that does not parse": {Proof{CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, platforms.BadRequest, "certificate 1"},
	} {
		if net.ParseIP(tc.by.Host) != nil {
			tc.by.Port = forward(t, tc.by.Host, s.Port())
		}
		p := s.Platform(t, passwords(s))
		d, err := p.Open(t.Context(), s.Target(&tc.by))
		if err == nil {
			_, err = d.List(t.Context())
		}
		if platforms.KindOf(err) != tc.kind || err != nil && !strings.Contains(strings.ToUpper(err.Error()), strings.ToUpper(tc.in)) {
			t.Errorf("%s: %s, %v; want %q with %q", what, platforms.KindOf(err), err, tc.kind, tc.in)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
	}
}

// forward takes connections at another address of this machine, and passes them to
// a port. It gives the port there.
func forward(t *testing.T, address string, to int) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				there, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
				if err != nil {
					return
				}
				defer there.Close()
				go func() { _, _ = io.Copy(there, from) }()
				_, _ = io.Copy(from, there)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func testLogin(t *testing.T, h Harness) {
	s := h.(Server)
	username, _ := s.Login()
	p := s.Platform(t, func(context.Context, string) (string, string, error) { return username, "wrong-and-secret", nil })
	d, err := p.Open(t.Context(), s.Target(nil))
	if err == nil {
		_, err = d.List(t.Context())
	}
	if platforms.KindOf(err) != platforms.Denied || strings.Contains(err.Error(), "wrong-and-secret") {
		t.Errorf("wrong password: %v", err)
	}
	p = s.Platform(t, func(context.Context, string) (string, string, error) {
		return "", "", job.Errorf(job.UnknownCredential, "r", "m")
	})
	if _, err := p.Open(t.Context(), s.Target(nil)); job.CodeOf(err) != job.UnknownCredential {
		t.Errorf("no such credential: %v", err)
	}
}

// Drivers of one platform share a session, which outlives what it was opened with,
// and is closed with the platform; nothing runs on.
func testSharedSession(t *testing.T, h Harness) {
	s := h.(Server)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() // of what ran before
	s.EndSessions(t)
	began := runtime.NumGoroutine()
	p := s.Platform(t, passwords(s))
	open := func(ctx context.Context) platforms.Driver {
		t.Helper()
		d, err := p.Open(ctx, s.Target(nil))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	gone, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 3 {
		d := open(gone)
		if i == 1 {
			cancel()
			gone = t.Context()
		}
		if _, err := d.List(gone); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.CountSessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
	d := open(t.Context())
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.CountSessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if _, err := d.List(t.Context()); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("a driver of a platform that was closed: %v", err)
	}
	if _, err := p.Open(t.Context(), s.Target(nil)); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("Open of a platform that was closed: %v", err)
	}
	eventually(t, fmt.Sprintf("%d goroutines, as before", began), func() bool { return runtime.NumGoroutine() <= began+2 })
}

// Refuses checks that each change to what is good is refused as a bad request whose
// message has what the change is called.
func Refuses[T any](t testing.TB, good T, try func(T) error, changes map[string]func(*T)) {
	t.Helper()
	if err := try(good); err != nil {
		t.Errorf("what is good: %v", err)
	}
	for in, change := range changes {
		bad := good
		change(&bad)
		if err := try(bad); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v", in, err)
		}
	}
}
