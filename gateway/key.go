package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// keyBytes is the length of the secret that everything is derived from.
const keyBytes = 32

// Key is what the gateways of one installation share: they seal with it, and
// it makes them the same CA. All of it is derived from one secret of 32 bytes,
// so that two workers with the same file are interchangeable.
type Key struct {
	seal []byte // for HMAC-SHA-256
	ca   *x509.Certificate
	sign ed25519.PrivateKey // the CA's
}

// LoadKey reads the key in the file, and makes one if there is no such file.
// Only its owner may read the file, who is the worker's user or root.
func LoadKey(path string) (*Key, error) {
	secret, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("make the gateway's key: %w", err)
		}
		secret, err = readKey(path) // another worker may have been quicker
	}
	if err != nil {
		return nil, fmt.Errorf("the gateway's key: %w", err)
	}
	return newKey(secret)
}

func readKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := st.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s (%v) is open to others than its owner: remove it, so that the worker makes another, or take their rights away if nobody can have read it", path, mode)
	}
	if owner := st.Sys().(*syscall.Stat_t).Uid; owner != 0 && int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to user %d, who knows what is in it: remove it, so that the worker makes another", path, owner)
	}
	b := make([]byte, 2*keyBytes+2)
	n, err := f.Read(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	secret, err := hex.DecodeString(string(bytes.TrimSpace(b[:n])))
	if err != nil || len(secret) != keyBytes {
		return nil, fmt.Errorf("%s does not hold %d hexadecimal digits: copy the file of another worker, or remove it, so that the worker makes another", path, 2*keyBytes)
	}
	return secret, nil
}

// makeKey makes the file, whole or not at all. One that is there stays.
func makeKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".gateway-key-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	secret := make([]byte, keyBytes)
	rand.Read(secret) // never fails
	_, err = fmt.Fprintln(f, hex.EncodeToString(secret))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func newKey(secret []byte) (*Key, error) {
	derive := func(what string, n int) ([]byte, error) {
		return hkdf.Key(sha256.New, secret, nil, "imageport gateway 1: "+what, n)
	}
	seal, err := derive("seal", sha256.Size)
	if err != nil {
		return nil, err
	}
	seedOfCA, err := derive("ca", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	k := &Key{seal: seal, sign: ed25519.NewKeyFromSeed(seedOfCA)}
	// Nothing in it may depend on time or chance: it is the same on all workers.
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "imageport gateway"},
		NotBefore:             time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, k.sign.Public(), k.sign) // Ed25519 is deterministic
	if err != nil {
		return nil, err
	}
	k.ca, err = x509.ParseCertificate(der)
	return k, err
}

// CA is the SHA-256 of the CA's certificate, in hexadecimal: what a seed says.
func (k *Key) CA() string {
	sum := sha256.Sum256(k.ca.Raw)
	return hex.EncodeToString(sum[:])
}
