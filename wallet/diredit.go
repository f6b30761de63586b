package wallet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"imageport/job"
	"imageport/wallet/atomicfile"
)

// Editor implements Catalog.
func (d *Directory) Editor() (Editor, error) { return d, nil }

// Add implements Editor. It makes the directory if there is none.
func (d *Directory) Add(ctx context.Context, c Credential, replace bool) (Metadata, error) {
	if err := c.Validate(); err != nil {
		return Metadata{}, fmt.Errorf("the credential %q: %w", c.ID, err)
	}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return Metadata{}, err
	}
	unlock, err := atomicfile.Lock(ctx, d.path)
	if err != nil {
		return Metadata{}, fmt.Errorf("the wallet directory %s: %w", d.path, err)
	}
	defer unlock()
	e := entry{Credential: c, created: now(d.clock)}
	e.updated = e.created
	file, mounted, err := d.there(c.ID)
	if err != nil {
		return Metadata{}, err
	}
	switch {
	case mounted && !file:
		return Metadata{}, d.refuseMounted(c.ID)
	case file && !replace:
		return Metadata{}, fmt.Errorf("the credential %q in the wallet directory %s: %w", c.ID, d.path, ErrExists)
	case file:
		old, err := readOwn(d.file(c.ID), maxEntryBytes, 0) // whatever its mode: it is replaced
		if err != nil {
			return Metadata{}, fmt.Errorf("the credential %q that is to be replaced: %w", c.ID, err)
		}
		if err := e.inherit(old); err != nil {
			return Metadata{}, err
		}
	}
	object, err := encodeEntry(e)
	if err != nil {
		return Metadata{}, fmt.Errorf("the credential %q: %w", c.ID, err)
	}
	if err := d.writer.Replace(d.file(c.ID), append(object, '\n')); err != nil {
		return Metadata{}, fmt.Errorf("write the credential %q: %w", c.ID, err)
	}
	return e.metadata(), nil
}

// Remove implements Editor. It removes files only, not what is mounted.
func (d *Directory) Remove(ctx context.Context, id string) error {
	if !validID(id) {
		return invalidID(id)
	}
	unlock, err := atomicfile.Lock(ctx, d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return d.missing(id)
	}
	if err != nil {
		return fmt.Errorf("the wallet directory %s: %w", d.path, err)
	}
	defer unlock()
	file, mounted, err := d.there(id)
	switch {
	case err != nil:
		return err
	case file:
		return d.writer.Remove(d.file(id))
	case mounted:
		return d.refuseMounted(id)
	}
	return d.missing(id)
}

func (d *Directory) file(id string) string { return filepath.Join(d.path, id+jsonSuffix) }

// there tells in which of its two forms there is a credential of that id. What
// is neither a file nor a directory counts as mounted. The file has precedence.
func (d *Directory) there(id string) (file, mounted bool, err error) {
	if st, err := os.Lstat(d.file(id)); err == nil {
		file, mounted = st.Mode().IsRegular(), !st.Mode().IsRegular() // such as a link
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, false, d.unreadable(err)
	}
	st, err := os.Stat(filepath.Join(d.path, id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, false, d.unreadable(err)
	}
	return file, mounted || err == nil && st.IsDir(), nil
}

func (d *Directory) refuseMounted(id string) error {
	return job.Errorf(job.BadRequest, "Change it where it is mounted from, or use another id",
		"the credential %q in the wallet directory %s is mounted there, or a link", id, d.path)
}
