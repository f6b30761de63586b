package xapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// certificateLife is how long the certificate is valid: longer than any lab.
const certificateLife = 365 * 24 * time.Hour

// newCertificate makes one that is its own CA, as hosts have that nobody has
// given another, for the hosts of listen addresses. One that listens everywhere
// is named by all addresses of this machine.
func newCertificate(now time.Time, hosts ...string) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "imageport lab XenServer"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range hosts {
		ip := net.ParseIP(host)
		switch {
		case host == "" || ip.IsUnspecified():
			all, err := net.InterfaceAddrs()
			if err != nil {
				return tls.Certificate{}, err
			}
			for _, a := range all {
				if n, ok := a.(*net.IPNet); ok {
					template.IPAddresses = append(template.IPAddresses, n.IP)
				}
			}
		case ip != nil:
			template.IPAddresses = append(template.IPAddresses, ip)
		default:
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// CertificatePEM gives the hosts' certificate, which is its own CA. It names the
// addresses of both.
func (p *Pool) CertificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate}))
}

// Fingerprint gives the SHA-256 of the hosts' certificate, upper case
// hexadecimal with colons.
func (p *Pool) Fingerprint() string {
	sum := sha256.Sum256(p.certificate)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}
