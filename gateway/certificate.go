package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"imageport/engine/enrol"
	"imageport/job/seed"
)

const (
	// certificateLife is how long a CE's certificate is good. The CE renews it
	// at a third of that, and connections last less than another third.
	certificateLife = time.Hour
	// clockSlack is how much the clocks of two workers may differ.
	clockSlack = 10 * time.Minute
	// serverLife is how long the server's own certificate is good; another one
	// is made at half of that.
	serverLife = 48 * time.Hour
	// jobScheme is that of the URI in a CE's certificate that names its job.
	jobScheme = "imageport-job"
)

// issue makes the certificate of a CE for its public key.
func (k *Key) issue(p Peer, public any, now time.Time, life time.Duration) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject:     pkix.Name{CommonName: p.CE},
		URIs:        []*url.URL{{Scheme: jobScheme, Opaque: url.PathEscape(p.Job)}},
		NotBefore:   now.Add(-clockSlack),
		NotAfter:    now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, k.ca, public, k.sign)
}

// whose gives the CE that a certificate of ours is for.
func whose(c *x509.Certificate) (Peer, error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != jobScheme || !seed.ValidName(c.Subject.CommonName) {
		return Peer{}, errors.New("the certificate is no Compositing Engine's")
	}
	job, err := url.PathUnescape(c.URIs[0].Opaque)
	if err != nil {
		return Peer{}, fmt.Errorf("the job in the certificate: %w", err)
	}
	return Peer{CE: c.Subject.CommonName, Job: job}, nil
}

// fingerprint identifies a key: the SHA-256 of its SubjectPublicKeyInfo.
func fingerprint(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// caller is a CE that has shown its certificate.
type caller struct {
	Peer
	leaf *x509.Certificate
}

// key is the fingerprint of the CE's key.
func (c caller) key() string { return fingerprint(c.leaf.RawSubjectPublicKeyInfo) }

// callerOf gives the CE at the other end of a call. The certificate was
// verified when the connection was made, which may be a while ago.
func callerOf(ctx context.Context, now time.Time) (caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, errors.New("there is no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return caller{}, errors.New("it shows no certificate")
	}
	leaf := info.State.PeerCertificates[0]
	if now.After(leaf.NotAfter) {
		return caller{}, fmt.Errorf("its certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	who, err := whose(leaf)
	return caller{Peer: who, leaf: leaf}, err
}

// serverTLS is the configuration of the gateway's side.
func (k *Key) serverTLS(now func() time.Time) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(k.ca)
	var mu sync.Mutex
	var current *tls.Certificate
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ClientAuth: tls.VerifyClientCertIfGiven, // a CE that enrols has none
		ClientCAs:  pool,
		Time:       now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if current == nil || now().Add(serverLife/2).After(current.Leaf.NotAfter) {
				made, err := k.serverCertificate(now())
				if err != nil {
					return nil, err
				}
				current = made
			}
			return current, nil
		},
	}
}

// serverCertificate makes a certificate for the gateway, with its CA.
func (k *Key) serverCertificate(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		DNSNames:    []string{enrol.ServerName},
		NotBefore:   now.Add(-clockSlack),
		NotAfter:    now.Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, k.ca, key.Public(), k.sign)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der, k.ca.Raw}, PrivateKey: key, Leaf: leaf}, err
}
