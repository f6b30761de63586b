package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"imageport/job"
	"imageport/wallet/atomicfile"
)

// Dir gives the wallet in a directory. The credential of an id is
//
//   - <path>/<id>.json, an object with the keys of the Credential Wallet API:
//     type (by default UsernamePassword) and those of the type, see the
//     documentation of the package; their case is of no importance, other keys
//     are ignored; or
//   - <path>/<id>/, a mounted secret, with a file for each of these keys; one
//     line break at the end of each is dropped. Without a file "type", it is
//     told from the others.
//
// It refuses files that group or others may read, write or execute. Nothing is
// cached: a changed password counts from the next call on.
func Dir(path string) *Directory { return &Directory{path: path} }

// Directory is the wallet that Dir gives. It is a Catalog and an Editor.
type Directory struct {
	path   string
	clock  func() time.Time
	writer atomicfile.Writer
}

// Credential implements Provider.
func (d *Directory) Credential(ctx context.Context, id string) (Credential, error) {
	e, err := d.find(ctx, id)
	return e.Credential, err
}

// Describe implements Catalog.
func (d *Directory) Describe(ctx context.Context, id string) (Metadata, error) {
	e, err := d.find(ctx, id)
	if err != nil {
		return Metadata{}, err
	}
	return e.metadata(), nil
}

// List implements Catalog.
func (d *Directory) List(ctx context.Context) ([]Metadata, error) {
	files, err := os.ReadDir(d.path)
	if err != nil {
		return nil, d.unreadable(err)
	}
	var ids []string
	for _, f := range files {
		id, isFile := strings.CutSuffix(f.Name(), jsonSuffix)
		if !isFile {
			if st, err := os.Stat(d.path + "/" + id); err != nil || !st.IsDir() {
				continue
			}
		}
		if validID(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	list := []Metadata{}
	for _, id := range slices.Compact(ids) { // one may be both a file and mounted
		m, err := d.Describe(ctx, id)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			m = unusable(id, err)
		}
		list = append(list, m)
	}
	return list, nil
}

const jsonSuffix = ".json"

func (d *Directory) find(ctx context.Context, id string) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	if !validID(id) {
		return entry{}, invalidID(id)
	}
	e, err := d.read(id)
	if err == nil {
		return e, nil
	}
	if _, ok := errors.AsType[*job.Error](err); ok {
		return entry{}, err
	}
	// The directory cannot be read at all, or a file of the credential cannot.
	return entry{}, unreadable(err, "Check that the directory is there and that the worker's user may read it",
		"credential %q in the wallet directory %s", id, d.path)
}

func (d *Directory) unreadable(err error) error {
	return unreadable(err, "Check that the directory is there and that your user may read it", "the wallet directory %s", d.path)
}

func (d *Directory) read(id string) (entry, error) {
	root, err := os.OpenRoot(d.path) // links that lead out of the directory are not followed
	if err != nil {
		return entry{}, err
	}
	defer root.Close()

	b, changed, err := d.readFile(root, id, id+jsonSuffix)
	if err == nil {
		e, err := decodeEntry(id, b)
		if err != nil {
			return entry{}, d.unusable(id, id+jsonSuffix, err)
		}
		if e.updated.IsZero() {
			e.updated = changed
		}
		return e, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return entry{}, err
	}
	st, err := root.Stat(id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return entry{}, d.missing(id)
	}
	if err != nil {
		return entry{}, err
	}
	return d.readMounted(root, id)
}

func (d *Directory) missing(id string) error {
	return job.Errorf(job.UnknownCredential,
		fmt.Sprintf("Put the credential there as %s%s (imageport credentials add does), or correct the id in the request", id, jsonSuffix),
		"there is no credential %q in the wallet directory %s", id, d.path)
}

// mountedFiles are the files of a mounted secret: the keys of all types.
var mountedFiles = []string{"type", "hosts", "username", "password", "domain", "tenantId", "clientId", "clientSecret", "secret", "serviceAccountKey", "key"}

// readMounted reads the files of <id>/.
func (d *Directory) readMounted(root *os.Root, id string) (entry, error) {
	values := map[string]string{}
	var updated time.Time
	for _, name := range mountedFiles {
		b, changed, err := d.readFile(root, id, id+"/"+name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return entry{}, err
		}
		if !utf8.Valid(b) {
			return entry{}, d.unusable(id, id+"/"+name, errors.New("it is not in UTF-8"))
		}
		s, _ := strings.CutSuffix(string(b), "\n")
		values[name], _ = strings.CutSuffix(s, "\r")
		if changed.After(updated) {
			updated = changed
		}
	}
	if values["type"] == "" {
		values["type"] = string(mountedType(values))
	}
	object, err := json.Marshal(values)
	if err != nil {
		return entry{}, err
	}
	e, err := decodeEntry(id, object)
	if err != nil {
		return entry{}, d.unusable(id, id, err)
	}
	e.updated = updated
	return e, nil
}

// mountedType tells the type of a mounted secret by what only that type has.
func mountedType(values map[string]string) Type {
	switch {
	case values["serviceAccountKey"] != "" || values["key"] != "":
		return TypeGCP
	case values["clientSecret"] != "" || values["secret"] != "":
		return TypeAzure
	}
	return TypeUsernamePassword
}

// readFile reads a file that only its owner may touch, and tells when it was
// changed last.
func (d *Directory) readFile(root *os.Root, id, name string) ([]byte, time.Time, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	st, err := f.Stat() // of what is open, so that nobody can exchange it in between
	if err != nil {
		return nil, time.Time{}, err
	}
	if !st.Mode().IsRegular() {
		return nil, time.Time{}, d.unusable(id, name, errors.New("it is not a regular file"))
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, time.Time{}, job.Errorf(job.UnknownCredential,
			"Take the rights of group and others away (chmod 600; defaultMode: 0400 for a Kubernetes secret), and change the password if it may have been read",
			"%s/%s, the credential %q, is open to others than its owner (mode %04o)", d.path, name, id, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxEntryBytes+1))
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(b) > maxEntryBytes {
		return nil, time.Time{}, d.unusable(id, name, fmt.Errorf("it has more than %d bytes", maxEntryBytes))
	}
	return b, st.ModTime().UTC().Truncate(time.Second), nil
}

func (d *Directory) unusable(id, file string, found error) error {
	return job.Errorf(job.UnknownCredential, "Correct the credential in the wallet directory",
		"%s/%s, the credential %q, cannot be used: %w", d.path, file, id, found)
}
