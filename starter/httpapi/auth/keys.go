package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"imageport/job"
)

// An API key is "ipk_", the id of the key, "_" and the secret: so many random
// bytes, in hexadecimal and base64url without padding. A secret of that length
// cannot be guessed, so that one round of SHA-256 is as good a hash as a slow one.
const (
	keyPrefix      = "ipk_"
	keyIDBytes     = 6
	keySecretBytes = 32
)

// Key is what is kept of an API key.
type Key struct {
	ID   string `json:"id"`
	Name string `json:"name"` // of whom or what it is for
	// Hash is the SHA-256 of the whole key, in hexadecimal.
	Hash    string    `json:"sha256"`
	Created time.Time `json:"created"`
	Grant
}

// Keys are the API keys of a service. They do not change: With and Without give
// others.
type Keys struct{ list []Key }

// keysVersion is the version of the format of Encode.
const keysVersion = 1

// MaxKeysBytes bounds what ParseKeys takes.
const MaxKeysBytes = 4 << 20

type keysJSON struct {
	Version int   `json:"version"`
	Keys    []Key `json:"keys"`
}

// ParseKeys reads what Encode gives: a JSON object with the version of the
// format, 1, and the keys. What is empty has no keys.
func ParseKeys(text []byte) (Keys, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return Keys{}, nil
	}
	if len(text) > MaxKeysBytes {
		return Keys{}, fmt.Errorf("it has more than %d bytes", MaxKeysBytes)
	}
	var all keysJSON
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a right that is misspelt must not be ignored
	if err := d.Decode(&all); err != nil {
		return Keys{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return Keys{}, errors.New("something follows its JSON object")
	}
	if all.Version != keysVersion {
		return Keys{}, fmt.Errorf("its format has version %d, and this release knows version %d only", all.Version, keysVersion)
	}
	seen := map[string]bool{}
	for i, k := range all.Keys {
		if err := k.validate(); err != nil {
			return Keys{}, fmt.Errorf("its key %d: %w", i+1, err)
		}
		if seen[k.ID] {
			return Keys{}, fmt.Errorf("it has the key %s twice", k.ID)
		}
		seen[k.ID] = true
	}
	return Keys{all.Keys}, nil
}

func (k Key) validate() error {
	if b, err := hex.DecodeString(k.ID); err != nil || len(b) != keyIDBytes {
		return fmt.Errorf("its id %.40q is not %d bytes in hexadecimal", k.ID, keyIDBytes)
	}
	if b, err := hex.DecodeString(k.Hash); err != nil || len(b) != sha256.Size {
		return errors.New("its sha256 is not that of a key, in hexadecimal")
	}
	return k.check()
}

// maxName bounds the name of a key, in characters.
const maxName = 100

// check refuses what nobody can have meant.
func (k Key) check() error {
	switch {
	case strings.TrimSpace(k.Name) == "":
		return errors.New("it has no name")
	case utf8.RuneCountInString(k.Name) > maxName || strings.ContainsFunc(k.Name, unicode.IsControl):
		return fmt.Errorf("its name is not at most %d printable characters", maxName)
	case len(k.ResourceLocations) == 0 && !k.Credentials:
		return errors.New("it names no resource location")
	case slices.Contains(k.ResourceLocations, ""):
		return errors.New("it names a resource location that is empty")
	}
	return nil
}

// List gives all keys, in the order in which they were added.
func (k Keys) List() []Key { return slices.Clone(k.list) }

// Encode gives the keys as a file.
func (k Keys) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(keysJSON{keysVersion, append([]Key{}, k.list...)}, "", "  ")
	return append(b, '\n'), err
}

// With adds a key with that name and those rights. secret is the key itself:
// nobody can tell it later. random gives random bytes.
func (k Keys) With(name string, g Grant, now time.Time, random io.Reader) (more Keys, added Key, secret string, err error) {
	b := make([]byte, keyIDBytes+keySecretBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return Keys{}, Key{}, "", fmt.Errorf("make a key: %w", err)
	}
	added = Key{ID: hex.EncodeToString(b[:keyIDBytes]), Name: name, Created: now.UTC().Truncate(time.Second), Grant: g}
	if err := added.check(); err != nil {
		return Keys{}, Key{}, "", job.Errorf(job.BadRequest, "", "the key %q: %w", name, err)
	}
	if slices.ContainsFunc(k.list, func(old Key) bool { return old.ID == added.ID || old.Name == name }) {
		return Keys{}, Key{}, "", job.Errorf(job.BadRequest, "Choose another name, or remove the key first", "there is a key %q already", name)
	}
	secret = keyPrefix + added.ID + "_" + base64.RawURLEncoding.EncodeToString(b[keyIDBytes:])
	added.Hash = hash(secret)
	return Keys{append(slices.Clone(k.list), added)}, added, secret, nil
}

// Without removes the key with that id or name.
func (k Keys) Without(which string) (fewer Keys, removed Key, err error) {
	i := slices.IndexFunc(k.list, func(key Key) bool { return key.ID == which || key.Name == which })
	if i < 0 {
		return k, Key{}, job.Errorf(job.BadRequest, "List the keys to see what there is", "there is no key %q", which)
	}
	return Keys{slices.Delete(slices.Clone(k.list), i, i+1)}, k.list[i], nil
}

// Authenticate implements Authenticator.
func (k Keys) Authenticate(_ context.Context, token string) (Principal, error) {
	rest, isKey := strings.CutPrefix(token, keyPrefix)
	id, _, _ := strings.Cut(rest, "_")
	i := slices.IndexFunc(k.list, func(key Key) bool { return key.ID == id })
	if !isKey || i < 0 {
		return Principal{}, unknown()
	}
	if subtle.ConstantTimeCompare([]byte(hash(token)), []byte(strings.ToLower(k.list[i].Hash))) != 1 {
		return Principal{}, unknown()
	}
	return Principal{Name: "key " + k.list[i].Name, Grants: []Grant{k.list[i].Grant}}, nil
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
