package vcenter

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

// selfSigned makes a certificate for the host of a listen address, as a new
// vCenter has one that nobody knows yet. For an unspecified host it names all
// addresses of this machine.
func selfSigned(host string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "imageport lab vCenter"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // it is trusted by being given as the CA
		DNSNames:              []string{"localhost"},
	}
	if template.IPAddresses, err = addresses(host); err != nil {
		return tls.Certificate{}, err
	}
	if net.ParseIP(host) == nil && host != "" && host != "localhost" {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func addresses(host string) ([]net.IP, error) {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	ip := net.ParseIP(host)
	if ip != nil && !ip.IsUnspecified() {
		if ip.IsLoopback() {
			return append(ips, ip), nil
		}
		return []net.IP{ip}, nil
	}
	if ip == nil && host != "" {
		return ips, nil
	}
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, n := range nets {
		if ipNet, ok := n.(*net.IPNet); ok {
			ips = append(ips, ipNet.IP)
		}
	}
	return ips, nil
}

// CertificatePEM gives the server's certificate, which is its own CA.
func (v *VCenter) CertificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.certificate}))
}

// Fingerprint gives the SHA-256 of the server's certificate, upper case
// hexadecimal with colons, as vCenter's own pages show it.
func (v *VCenter) Fingerprint() string {
	sum := sha256.Sum256(v.certificate)
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(hex, ":")
}
