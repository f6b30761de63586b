package httpapi

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// lookAgain is how often it is looked whether a certificate has changed.
const lookAgain = 5 * time.Second

// certificate is one in files, which may be replaced while it is used.
type certificate struct {
	certFile, keyFile string
	bad               func(error)

	mu     sync.Mutex
	at     time.Time
	stamps [2]time.Time
	loaded *tls.Certificate
}

// TLS gives a configuration with the certificate, and its chain, and the key in
// PEM files. They are read again when they have changed; ones that cannot be
// used are told to bad, and the certificate stays as it was.
func TLS(certFile, keyFile string, bad func(error)) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, bad: bad}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current(), nil
		},
	}, nil
}

// load reads the files if they have changed.
func (c *certificate) load() error {
	c.at = time.Now()
	var stamps [2]time.Time
	for i, path := range []string{c.certFile, c.keyFile} {
		st, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("the certificate: %w", err)
		}
		stamps[i] = st.ModTime()
	}
	if stamps == c.stamps {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("the certificate in %s with the key in %s: %w", c.certFile, c.keyFile, err)
	}
	c.loaded, c.stamps = &pair, stamps
	return nil
}

func (c *certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) >= lookAgain {
		if err := c.load(); err != nil {
			c.bad(err)
		}
	}
	return c.loaded
}
