package selfsigned

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

// life is how long a certificate is valid: longer than any lab.
const life = 365 * 24 * time.Hour

// Certificate is a server's, with its key.
type Certificate struct{ pair tls.Certificate }

// New makes a certificate for what has that name and listens on the hosts: names,
// addresses, or "" and an unspecified address for all addresses of this machine.
func New(name string, now time.Time, hosts ...string) (Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, // it is trusted by being given as the CA
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range hosts {
		ip := net.ParseIP(host)
		switch {
		case host == "" || ip.IsUnspecified():
			all, err := net.InterfaceAddrs()
			if err != nil {
				return Certificate{}, err
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
		return Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return Certificate{}, err
	}
	return Certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// TLS is how the server speaks.
func (c Certificate) TLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.pair}, MinVersion: tls.VersionTLS12}
}

// CertificatePEM gives the certificate, which is its own CA.
func (c Certificate) CertificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.pair.Certificate[0]}))
}

// Fingerprint gives the SHA-256 of the certificate, upper case hexadecimal with
// colons, as vCenter's and XenServer's own pages show it.
func (c Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.pair.Certificate[0])
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}
