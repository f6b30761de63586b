package trust

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// connectTimeout is for how long a host may take to connect, TLS included.
const connectTimeout = 30 * time.Second

// ErrUntrusted is wrapped by the errors of certificates that are not the ones
// asked for.
var ErrUntrusted = errors.New("the certificate is not trusted")

// Wish is what a request says of a server's certificate. All of it may be empty.
type Wish struct {
	// CACertificate is one certificate or several, in PEM. CAField is what the
	// request calls it.
	CACertificate, CAField string
	// Fingerprint is the SHA-256 or SHA-1 of the certificate, in hexadecimal.
	// FingerprintField is what the request calls it.
	Fingerprint, FingerprintField string
	// AnyName accepts a certificate for another host.
	AnyName bool
}

// Trust is by what a server's certificate is accepted. The zero Trust accepts
// what the system trusts.
type Trust struct {
	// roots vouch for it; nil stands for the system's, unless there is a fingerprint.
	roots *x509.CertPool
	// fingerprint is the SHA-256 or SHA-1 of the very certificate, in DER. It
	// needs no other voucher, but where roots are given as well they must agree.
	fingerprint []byte
	anyName     bool
	// text is what the roots were made from.
	text string
}

// Parse reads what a request says. Its error is for people, and names the field.
func Parse(w Wish) (Trust, error) {
	t := Trust{anyName: w.AnyName}
	if w.CACertificate != "" {
		// As one string, a PEM file often has its line ends written out.
		text := strings.NewReplacer(`\r`, "", `\n`, "\n").Replace(w.CACertificate)
		t.roots = x509.NewCertPool()
		rest, n := []byte(text), 0
		for block := (*pem.Block)(nil); ; n++ {
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				return t, fmt.Errorf("%s: it holds a %q, want certificates only", w.CAField, block.Type)
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return t, fmt.Errorf("%s: certificate %d: %w", w.CAField, n+1, err)
			}
			t.roots.AddCert(c)
		}
		if n == 0 {
			return t, fmt.Errorf("%s holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", w.CAField)
		}
		t.text = text
	}
	if w.Fingerprint != "" {
		var err error
		if t.fingerprint, err = parseFingerprint(w.Fingerprint); err != nil {
			return t, fmt.Errorf("%s %w", w.FingerprintField, err)
		}
	}
	return t, nil
}

// parseFingerprint reads the spellings of browsers, openssl and platforms:
// "AA:BB:…", "aabb…", "SHA256 Fingerprint=AA:BB:…".
func parseFingerprint(s string) ([]byte, error) {
	text := strings.ToLower(s)
	if _, after, ok := strings.Cut(text, "="); ok {
		text = after
	}
	for _, name := range []string{"sha256:", "sha-256:", "sha1:", "sha-1:"} {
		text = strings.TrimPrefix(strings.TrimSpace(text), name)
	}
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "", "-", "", "\t", "", "\n", "").Replace(text))
	if err != nil || len(b) != sha1.Size && len(b) != sha256.Size {
		return nil, fmt.Errorf("%.100q: want a SHA-256 or SHA-1 in hexadecimal", s)
	}
	return b, nil
}

// Pinned reports whether there is a fingerprint, and nothing else that vouches
// for a certificate: another host's certificate then is no other than this one.
func (t Trust) Pinned() bool { return t.fingerprint != nil && t.roots == nil }

// Sum is equal for what trusts the same.
func (t Trust) Sum() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%x %v %s", t.fingerprint, t.anyName, t.text))
}

// Config is that of connections to the host.
func (t Trust) Config(host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: t.roots}
	if t.fingerprint == nil && !t.anyName {
		return c // what crypto/tls checks by itself is what is wanted
	}
	c.InsecureSkipVerify = true // for the check below, which is one of its own
	c.VerifyConnection = func(s tls.ConnectionState) error { return t.verify(s.PeerCertificates) }
	return c
}

// verify checks the certificates that a server shows, its own first.
func (t Trust) verify(shown []*x509.Certificate) error {
	if len(shown) == 0 {
		return fmt.Errorf("%w: none was shown", ErrUntrusted)
	}
	if t.fingerprint != nil {
		long, short := sha256.Sum256(shown[0].Raw), sha1.Sum(shown[0].Raw)
		if !bytes.Equal(t.fingerprint, long[:]) && !bytes.Equal(t.fingerprint, short[:]) {
			return fmt.Errorf("%w: its fingerprint is not %X; it has the SHA-256 %X", ErrUntrusted, t.fingerprint, long)
		}
		if t.roots == nil {
			return nil
		}
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: t.roots, Intermediates: between})
	return err
}

// Dialer connects with TLS: to the server's address (host:port) by t, and to a
// host to which that refers by the fingerprint that it gives of it, or by the
// same CA. fingerprint gives "" for a host that it knows nothing of. No proxy is
// asked.
func (t Trust) Dialer(server string, fingerprint func(address string) string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		by := t
		if address != server {
			by = Trust{roots: t.roots}
			if f := fingerprint(address); f != "" {
				if by.fingerprint, err = parseFingerprint(f); err != nil {
					return nil, fmt.Errorf("the fingerprint of %s, %w", address, err)
				}
				by.roots = nil
			}
		}
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: connectTimeout}, Config: by.Config(host)}
		return d.DialContext(ctx, network, address)
	}
}
