package httpapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	at := time.Now().Add(-time.Hour)
	write := func(path, kind string, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if der == nil {
			text = []byte("spoilt")
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(serial int64) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)},
			&x509.Certificate{SerialNumber: big.NewInt(serial)}, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(certFile, "CERTIFICATE", der)
		write(keyFile, "PRIVATE KEY", keyDER)
	}
	if _, err := TLS(certFile, keyFile, nil); err == nil {
		t.Error("no files, and no error")
	}
	issue(1)
	var told []error
	c := &certificate{certFile: certFile, keyFile: keyFile, bad: func(err error) { told = append(told, err) }}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		c.at = time.Time{} // it is time to look
		return c.current().Leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("serial %d", got)
	}
	issue(2)
	if got := serial(); got != 2 || len(told) != 0 {
		t.Errorf("a new certificate: serial %d, %v", got, told)
	}
	write(certFile, "", nil)
	if got := serial(); got != 2 || len(told) != 1 {
		t.Errorf("a spoilt one: serial %d, %v", got, told)
	}
	issue(3)
	if got := serial(); got != 3 {
		t.Errorf("a new one after it: serial %d", got)
	}
	secure, err := TLS(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	if served, err := secure.GetCertificate(nil); err != nil || served.Leaf.SerialNumber.Int64() != 3 {
		t.Errorf("%+v, %v", served, err)
	}
}
