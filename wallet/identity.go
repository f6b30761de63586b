package wallet

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"filippo.io/age"

	"imageport/job"
)

// maxKeyBytes bounds the key file. A key has 74 bytes.
const maxKeyBytes = 64 << 10

// identities reads the key file: an age identity on each line, and comments.
// The error is fs.ErrNotExist, wrapped, if there is none.
func (f *EncryptedFile) identities() ([]*age.X25519Identity, error) {
	text, err := readOwn(f.keyFile, maxKeyBytes, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, f.unreadable(f.keyFile, "the wallet's key", err)
	}
	var identities []*age.X25519Identity
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil { // which may quote the key
			return nil, f.badKey(fmt.Sprintf("line %d is not an X25519 identity of age", number))
		}
		identities = append(identities, id)
	}
	if len(identities) == 0 {
		return nil, f.badKey("there is no identity of age in it")
	}
	return identities, nil
}

func (f *EncryptedFile) badKey(found string) error {
	return job.Errorf(job.UnknownCredential, "Restore the key from your backup; it is a file as age-keygen makes it",
		"the wallet's key %s cannot be used: %s", f.keyFile, found)
}

// recipient gives whom the wallet is encrypted for, which is the first of the
// identities: the others are old ones, for reading. If there is no key file, it
// makes one. The caller holds the lock, and has read the wallet: one that
// exists has its key.
func (f *EncryptedFile) recipient() (age.Recipient, error) {
	identities, err := f.identities()
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.makeKey(); err != nil {
			return nil, fmt.Errorf("make the wallet's key: %w", err)
		}
		identities, err = f.identities()
	}
	if err != nil {
		return nil, err
	}
	return identities[0].Recipient(), nil
}

func (f *EncryptedFile) makeKey() error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", now(f.clock).Format(time.RFC3339), id.Recipient(), id)
	return f.writer.Create(f.keyFile, []byte(text))
}
