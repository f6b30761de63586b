package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
)

// maxRequestBytes is far more than a request for a P-256 key takes.
const maxRequestBytes = 4 << 10

// parseRequest reads a CE's certificate request and checks that the CE has the
// key that it names.
func parseRequest(der []byte) (*x509.CertificateRequest, error) {
	if len(der) > maxRequestBytes {
		return nil, errors.New("the certificate request is too big")
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate request: %w", err)
	}
	if key, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request is not for a P-256 key")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request: %w", err)
	}
	return r, nil
}
