package enrol

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// verify checks that chain, the last of which is its CA, belongs to the gateway
// whose CA has that SHA-256, at whatever time.
func verify(chain []*x509.Certificate, ca string) error {
	if len(chain) < 2 {
		return errors.New("what answers there is no gateway of imageport's: its certificate comes without a CA")
	}
	leaf, root := chain[0], chain[len(chain)-1]
	if sum := sha256.Sum256(root.Raw); hex.EncodeToString(sum[:]) != ca {
		return fmt.Errorf("what answers there is not the gateway of this Compositing Engine: its CA has the SHA-256 %x, the seed's %s", sum, ca)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:       pool,
		DNSName:     ServerName,
		CurrentTime: leaf.NotBefore,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the gateway's certificate: %w", err)
	}
	return nil
}
