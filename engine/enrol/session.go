package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"imageport/job/seed"
)

const (
	attemptTimeout = 15 * time.Second
	retryPause     = time.Second
	renewRetry     = 20 * time.Second

	credentialPatience = 30 * time.Second
)

// Session is an enrolled CE's way to its job.
type Session struct {
	// ShareDriver is the SMB library that the worker wants used.
	ShareDriver string

	gateway seed.Gateway
	key     *ecdsa.PrivateKey

	renewAfter time.Duration // of Keep, once enrolled

	cert atomic.Pointer[tls.Certificate]
	conn *grpc.ClientConn
	log  *slog.Logger
}

// Open enrols. It tries for as long as the seed says, and gives the last cause
// when it gives up; what no retry can help it gives at once.
func Open(ctx context.Context, s seed.Seed, log *slog.Logger) (*Session, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: s.Name}}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	session := &Session{gateway: s.Gateway, key: key, log: log}
	if err := session.enrol(ctx, EnrolRequest{Token: s.Gateway.Token, CSR: csr, Protocol: Protocol}); err != nil {
		return nil, err
	}
	session.conn, err = session.dial() // with the certificate
	return session, err
}

func (s *Session) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(s.gateway.Address, grpc.WithTransportCredentials(credentials.NewTLS(s.TLS())), Reconnect())
	if err != nil {
		return nil, fmt.Errorf("gateway %s: %w", s.gateway.Address, err)
	}
	return conn, nil
}

// Reconnect has a connection tried anew every few seconds: the gateway is away
// whenever the worker is restarted, and the job does not wait for ever.
func Reconnect() grpc.DialOption {
	return grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
		MinConnectTimeout: 5 * time.Second,
	})
}

// enrol enrols, patiently.
func (s *Session) enrol(ctx context.Context, request EnrolRequest) error {
	patience := time.Duration(s.gateway.Patience) * time.Second
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var said string
	for {
		final, err := s.try(patient, request)
		if err == nil || final {
			return err
		}
		if text := err.Error(); text != said {
			s.log.Warn("not enrolled yet, trying again", "cause", text)
			said = text
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patient.Done():
			return fmt.Errorf("no enrolment within %v: %w", patience, err)
		case <-time.After(retryPause):
		}
	}
}

// try enrols once. final says that another attempt would end the same.
func (s *Session) try(ctx context.Context, request EnrolRequest) (final bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// gRPC tells what is wrong with a connection in a roundabout way.
	if err := s.probe(ctx); err != nil {
		return false, err
	}
	conn, err := s.dial()
	if err != nil {
		return true, err
	}
	defer conn.Close()
	request.Time = time.Now()
	reply, err := call[EnrolRequest, EnrolReply](ctx, conn, MethodEnrol, request)
	if err != nil {
		err = fmt.Errorf("the gateway %s: %w", s.gateway.Address, plain(err))
		return refused(err), err
	}
	s.ShareDriver = reply.ShareDriver
	return true, s.use(reply.Issued)
}

// probe looks whether the gateway of the seed answers.
func (s *Session) probe(ctx context.Context) error {
	d := tls.Dialer{Config: s.TLS()}
	conn, err := d.DialContext(ctx, "tcp", s.gateway.Address)
	if err != nil {
		return fmt.Errorf("the gateway %s cannot be reached: %w", s.gateway.Address, err)
	}
	return conn.Close()
}

// use takes a certificate for the session's key into use.
func (s *Session) use(issued Issued) error {
	leaf, err := x509.ParseCertificate(issued.Certificate)
	if err != nil {
		return fmt.Errorf("the gateway's certificate for this Compositing Engine: %w", err)
	}
	if !s.key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("the gateway's certificate for this Compositing Engine is for another key")
	}
	s.cert.Store(&tls.Certificate{Certificate: [][]byte{issued.Certificate}, PrivateKey: s.key, Leaf: leaf})
	s.renewAfter = issued.RenewAfter
	return nil
}

// TLS gives the configuration of connections to the gateway. They carry the
// certificate that the session has when they are made.
func (s *Session) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The usual verification needs the CA itself, which would take a
		// quarter of the seed, and a right clock, which is asked for later,
		// with a better message.
		InsecureSkipVerify: true,
		VerifyConnection:   func(c tls.ConnectionState) error { return verify(c.PeerCertificates, s.gateway.CA) },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert := s.cert.Load(); cert != nil {
				return cert, nil
			}
			return &tls.Certificate{}, nil // none yet
		},
	}
}

// Keep renews the certificate until ctx ends, which is no error, or until the
// gateway says that the CE has no job any more.
func (s *Session) Keep(ctx context.Context) error {
	for {
		pause := s.renewAfter
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			err := s.renew(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			if refused(err) {
				return err
			}
			s.log.Warn("certificate not renewed, trying again", "cause", err)
			pause = min(renewRetry, s.renewAfter)
		}
	}
}

func (s *Session) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	reply, err := call[RenewRequest, RenewReply](ctx, s.conn, MethodRenew, RenewRequest{})
	if err != nil {
		return fmt.Errorf("the gateway %s: %w", s.gateway.Address, plain(err))
	}
	return s.use(reply.Issued)
}

// Credential gets a credential that the job names, for that host. It tries for a
// while: a worker that has just started may not know the job yet. One that is not
// for the host it does not give, whatever the gateway does.
func (s *Session) Credential(ctx context.Context, id, host string) (CredentialReply, error) {
	ctx, cancel := context.WithTimeout(ctx, credentialPatience)
	defer cancel()
	var reply CredentialReply
	var err error
	for {
		reply, err = call[CredentialRequest, CredentialReply](ctx, s.conn, MethodCredential, CredentialRequest{ID: id, Host: host})
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
	if err != nil {
		return CredentialReply{}, fmt.Errorf("credential %q from the gateway %s: %w", id, s.gateway.Address, plain(err))
	}
	if reply.Error != nil {
		return CredentialReply{}, reply.Error
	}
	if err := reply.Hosts.Check(id, host); err != nil {
		return CredentialReply{}, err
	}
	return reply, nil
}

// Address is the gateway's, for a gRPC client with the session's TLS.
func (s *Session) Address() string { return s.gateway.Address }

// Close ends the session's own connection.
func (s *Session) Close() error { return s.conn.Close() }

// refused reports whether the gateway itself said no.
func refused(err error) bool {
	switch status.Code(errorStatus(err)) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.Unimplemented:
		return true
	}
	return false
}

// plainError is a gRPC status that reads like other errors.
type plainError struct{ error }

func (e plainError) Error() string { return status.Convert(e.error).Message() }
func (e plainError) Unwrap() error { return e.error }

func plain(err error) error { return plainError{err} }

func errorStatus(err error) error {
	if e, ok := errors.AsType[plainError](err); ok {
		return e.error
	}
	return err
}
