package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"filippo.io/age"

	"imageport/job"
	"imageport/wallet/atomicfile"
)

// maxFileBytes bounds the encrypted file: thousands of credentials.
const maxFileBytes = 4 << 20

// File gives the wallet in a file that is encrypted with age, for the X25519
// identity in keyFile. The documentation of the package describes both. The
// file is read anew for each credential: a changed password counts from the
// next call on.
func File(path, keyFile string) *EncryptedFile { return &EncryptedFile{path: path, keyFile: keyFile} }

// EncryptedFile is the wallet that File gives. It is a Catalog and an Editor.
type EncryptedFile struct {
	path, keyFile string
	clock         func() time.Time
	writer        atomicfile.Writer
}

// Credential implements Provider.
func (f *EncryptedFile) Credential(ctx context.Context, id string) (Credential, error) {
	e, err := f.find(ctx, id)
	return e.Credential, err
}

// Describe implements Catalog.
func (f *EncryptedFile) Describe(ctx context.Context, id string) (Metadata, error) {
	e, err := f.find(ctx, id)
	if err != nil {
		return Metadata{}, err
	}
	return e.metadata(), nil
}

// List implements Catalog. A wallet that is not there yet is empty.
func (f *EncryptedFile) List(ctx context.Context) ([]Metadata, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	content, _, err := f.read()
	if err != nil {
		return nil, err
	}
	list := []Metadata{}
	for _, item := range content.items {
		e, err := decodeEntry(item.id, item.object)
		if err != nil {
			list = append(list, unusable(item.id, err))
			continue
		}
		list = append(list, e.metadata())
	}
	return list, nil
}

func (f *EncryptedFile) find(ctx context.Context, id string) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	if !validID(id) {
		return entry{}, invalidID(id)
	}
	content, exists, err := f.read()
	if err != nil {
		return entry{}, err
	}
	object := content.get(id)
	if object == nil {
		return entry{}, f.missing(id, exists)
	}
	e, err := decodeEntry(id, object)
	if err != nil {
		return entry{}, job.Errorf(job.UnknownCredential, fmt.Sprintf("Run: imageport credentials add %s --replace", id),
			"the credential %q in the wallet %s cannot be used: %w", id, f.path, err)
	}
	return e, nil
}

func (f *EncryptedFile) missing(id string, exists bool) error {
	why := ""
	if !exists {
		why = ", which is not there yet"
	}
	return job.Errorf(job.UnknownCredential, fmt.Sprintf("Run: imageport credentials add %s; or correct the id in the request", id),
		"there is no credential %q in the wallet %s%s", id, f.path, why)
}

// read gives the content of the wallet. One that is not there is empty.
func (f *EncryptedFile) read() (content contents, exists bool, err error) {
	sealed, err := readOwn(f.path, maxFileBytes, 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		return contents{}, false, nil
	}
	if err != nil {
		return contents{}, true, f.unreadable(f.path, "the wallet", err)
	}
	identities, err := f.identities()
	if errors.Is(err, fs.ErrNotExist) {
		return contents{}, true, job.Errorf(job.UnknownCredential,
			"Restore the key from your backup; without it, move the wallet away and add its credentials anew",
			"the wallet %s is encrypted, and its key %s is missing", f.path, f.keyFile)
	}
	if err != nil {
		return contents{}, true, err
	}
	plain, err := decrypt(sealed, identities)
	if errors.Is(err, errWrongKey) {
		return contents{}, true, job.Errorf(job.UnknownCredential,
			"Restore the wallet and its key from the same backup, or correct key_file in the configuration",
			"the wallet %s is not encrypted for the key in %s", f.path, f.keyFile)
	}
	if err == nil {
		content, err = parseContents(plain)
	}
	if err != nil {
		return contents{}, true, job.Errorf(job.UnknownCredential,
			"Restore the wallet from your backup, or move it away and add its credentials anew",
			"the wallet %s is damaged: %w", f.path, err)
	}
	return content, true, nil
}

func decrypt(sealed []byte, keys []*age.X25519Identity) ([]byte, error) {
	identities := make([]age.Identity, len(keys))
	for i, k := range keys {
		identities[i] = k
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, errWrongKey
	}
	if err != nil {
		return nil, errSpoilt
	}
	plain, err := io.ReadAll(r) // it is shorter than what is sealed
	if err != nil {
		return nil, errSpoilt
	}
	return plain, nil
}

// What may be wrong with an encrypted file. The errors of package age quote it,
// and it may be a wallet that somebody has not encrypted.
var (
	errWrongKey = errors.New("it is encrypted for another key")
	errSpoilt   = errors.New("it is not a file of age, or a part of it is missing or was changed")
)

func (f *EncryptedFile) unreadable(path, what string, err error) error {
	if m, ok := errors.AsType[openToOthers](err); ok {
		return job.Errorf(job.UnknownCredential, "Take the rights of group and others away (chmod 600), and change the passwords if somebody may have made use of them",
			"%s %s is open to others than its owner (mode %04o)", what, path, fs.FileMode(m))
	}
	return unreadable(err, "Check that it is a file, and that the worker's user may read it", "%s %s", what, path)
}

// openToOthers is the mode of a file that has rights which it must not have.
type openToOthers fs.FileMode

func (m openToOthers) Error() string { return fmt.Sprintf("mode %04o", fs.FileMode(m)) }

// readOwn reads a regular file of at most limit bytes that has none of the
// rights in deny.
func readOwn(path string, limit int64, deny fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if mode := st.Mode().Perm(); mode&deny != 0 {
		return nil, openToOthers(mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, nil
}

// Editor implements Catalog.
func (f *EncryptedFile) Editor() (Editor, error) { return f, nil }

// Add implements Editor. The first one makes the key, if there is none.
func (f *EncryptedFile) Add(ctx context.Context, c Credential, replace bool) (Metadata, error) {
	if err := c.Validate(); err != nil {
		return Metadata{}, fmt.Errorf("the credential %q: %w", c.ID, err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(f.path), 0o700), os.MkdirAll(filepath.Dir(f.keyFile), 0o700)); err != nil {
		return Metadata{}, err
	}
	e := entry{Credential: c, created: now(f.clock)}
	e.updated = e.created
	err := f.change(ctx, func(content *contents) error {
		if old := content.get(c.ID); old != nil {
			if !replace {
				return fmt.Errorf("the credential %q in the wallet %s: %w", c.ID, f.path, ErrExists)
			}
			if err := e.inherit(old); err != nil {
				return err
			}
		}
		object, err := encodeEntry(e)
		if err != nil {
			return fmt.Errorf("the credential %q: %w", c.ID, err)
		}
		content.put(c.ID, object)
		return nil
	})
	if err != nil {
		return Metadata{}, err
	}
	return e.metadata(), nil
}

// Remove implements Editor.
func (f *EncryptedFile) Remove(ctx context.Context, id string) error {
	if !validID(id) {
		return invalidID(id)
	}
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return f.missing(id, false)
	}
	return f.change(ctx, func(content *contents) error {
		if !content.remove(id) {
			return f.missing(id, true)
		}
		return nil
	})
}

// change reads the wallet, changes it and writes it back, with no other writer
// in between.
func (f *EncryptedFile) change(ctx context.Context, change func(*contents) error) error {
	unlock, err := atomicfile.Lock(ctx, filepath.Dir(f.path))
	if err != nil {
		return fmt.Errorf("the wallet %s: %w", f.path, err)
	}
	defer unlock()
	content, _, err := f.read()
	if err != nil {
		return err
	}
	if err := change(&content); err != nil {
		return err
	}
	recipient, err := f.recipient()
	if err != nil {
		return err
	}
	plain, err := content.encode()
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		return fmt.Errorf("encrypt the wallet: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return fmt.Errorf("encrypt the wallet: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("encrypt the wallet: %w", err)
	}
	if sealed.Len() > maxFileBytes {
		return job.Errorf(job.BadRequest, "Remove credentials that nobody needs any more",
			"the wallet %s would have %d bytes, more than %d", f.path, sealed.Len(), maxFileBytes)
	}
	if err := f.writer.Replace(f.path, sealed.Bytes()); err != nil {
		return fmt.Errorf("write the wallet: %w", err)
	}
	return nil
}
