package vsphere

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

	"imageport/job"
)

// errUntrusted is wrapped by the errors of certificates that are not the ones
// asked for.
var errUntrusted = errors.New("the certificate is not trusted")

// trust is by what a server's certificate is accepted.
type trust struct {
	// roots vouch for it; nil stands for the system's, unless there is a fingerprint.
	roots *x509.CertPool
	// fingerprint is the SHA-256 or SHA-1 of the very certificate, in DER. It
	// needs no other voucher, but where roots are given as well they must agree.
	fingerprint []byte
	// anyName accepts a certificate for another host.
	anyName bool
	// text is what the above was made from.
	text string
}

// parseTrust reads what a request says of the vCenter's certificate.
func parseTrust(v job.VSphere) (trust, error) {
	t := trust{anyName: v.VCenterSSLNoCheckHostname}
	if v.VCenterSSLCACertificate != "" {
		// As one string, a PEM file often has its line ends written out.
		text := strings.NewReplacer(`\r`, "", `\n`, "\n").Replace(v.VCenterSSLCACertificate)
		t.roots = x509.NewCertPool()
		rest, n := []byte(text), 0
		for block := (*pem.Block)(nil); ; n++ {
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				return t, fmt.Errorf("vCenterSslCaCertificate: it holds a %q, want certificates only", block.Type)
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return t, fmt.Errorf("vCenterSslCaCertificate: certificate %d: %w", n+1, err)
			}
			t.roots.AddCert(c)
		}
		if n == 0 {
			return t, errors.New("vCenterSslCaCertificate holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")
		}
		t.text = text
	}
	if v.VCenterSSLFingerprint != "" {
		var err error
		if t.fingerprint, err = parseFingerprint(v.VCenterSSLFingerprint); err != nil {
			return t, err
		}
	}
	return t, nil
}

// parseFingerprint reads the spellings of browsers, openssl and vCenter:
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
		return nil, fmt.Errorf("vCenterSslFingerprint %.100q: want a SHA-256 or SHA-1 in hexadecimal", s)
	}
	return b, nil
}

// sum is equal for what trusts the same.
func (t trust) sum() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%x %v %s", t.fingerprint, t.anyName, t.text))
}

// config is that of connections to the host.
func (t trust) config(host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: t.roots}
	if t.fingerprint == nil && !t.anyName {
		return c // what crypto/tls checks by itself is what is wanted
	}
	c.InsecureSkipVerify = true // for the check below, which is one of its own
	c.VerifyConnection = func(s tls.ConnectionState) error { return t.verify(s.PeerCertificates) }
	return c
}

// verify checks the certificates that a server shows, its own first.
func (t trust) verify(shown []*x509.Certificate) error {
	if len(shown) == 0 {
		return fmt.Errorf("%w: none was shown", errUntrusted)
	}
	if t.fingerprint != nil {
		long, short := sha256.Sum256(shown[0].Raw), sha1.Sum(shown[0].Raw)
		if !bytes.Equal(t.fingerprint, long[:]) && !bytes.Equal(t.fingerprint, short[:]) {
			return fmt.Errorf("%w: its fingerprint is not %X; it has the SHA-256 %X", errUntrusted, t.fingerprint, long)
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

// dialer connects with TLS: to the vCenter by t, and to a host to which the
// vCenter refers by the fingerprint that it gives of it, or by the same CA. No
// proxy is asked.
func (t trust) dialer(vcenter string, fingerprint func(address string) string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		by := t
		if address != vcenter {
			by = trust{roots: t.roots}
			if f := fingerprint(address); f != "" {
				if by.fingerprint, err = parseFingerprint(f); err != nil {
					return nil, err
				}
				by.roots = nil
			}
		}
		return (&tls.Dialer{Config: by.config(host)}).DialContext(ctx, network, address)
	}
}
