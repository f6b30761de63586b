package wallet

import (
	"time"

	"imageport/wallet/atomicfile"
)

// SetClock gives a wallet a clock.
func SetClock(w Catalog, clock func() time.Time) {
	switch w := w.(type) {
	case *Directory:
		w.clock = clock
	case *EncryptedFile:
		w.clock = clock
	case *VaultKV:
		w.clock = clock
	}
}

// SetStep has a function called before each step of a change.
func SetStep(w Catalog, step func(string)) {
	switch w := w.(type) {
	case *Directory:
		w.writer = atomicfile.Writer{Step: step}
	case *EncryptedFile:
		w.writer = atomicfile.Writer{Step: step}
	}
}

// ParseContents reads a decrypted file, and gives it as it would be written.
func ParseContents(plain []byte) ([]byte, error) {
	c, err := parseContents(plain)
	if err != nil {
		return nil, err
	}
	return c.encode()
}
