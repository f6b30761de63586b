package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"imageport/job"
)

const (
	// maxIDBytes keeps "<id>.json" within the length of a file name.
	maxIDBytes = 128
	// maxFileBytes bounds what is read of a secret's file.
	maxFileBytes = 64 << 10
)

// Dir gives the wallet in a directory. The credential of an id is
//
//   - <path>/<id>.json, an object with the keys of the Credential Wallet API:
//     type (by default UsernamePassword), username, password, domain (may be
//     left out); their case is of no importance, other keys are ignored; or
//   - <path>/<id>/, a mounted secret, with the files username, password and
//     domain (may be missing); one line break at the end of each is dropped.
//
// It refuses files that group or others may read, write or execute. Nothing is
// cached: a changed password counts from the next call on.
func Dir(path string) Provider { return dir(path) }

type dir string

// Credential implements Provider.
func (d dir) Credential(ctx context.Context, id string) (Credential, error) {
	if err := ctx.Err(); err != nil {
		return Credential{}, err
	}
	if !validID(id) {
		return Credential{}, job.Errorf(job.UnknownCredential,
			"Use an id of at most 128 bytes that is a plain file name, without slashes, control characters and leading dot",
			"%q cannot be the id of a credential", id)
	}
	c, err := d.read(id)
	if err == nil {
		return c, nil
	}
	if _, ok := errors.AsType[*job.Error](err); ok {
		return Credential{}, err
	}
	// The directory cannot be read at all, or a file of the credential cannot.
	return Credential{}, job.Errorf(job.UnknownCredential,
		"Check that the directory is there and that the worker's user may read it",
		"credential %q in the wallet directory %s: %w", id, d, err)
}

// validID reports whether id can be looked up: as the name of a file in the
// directory, and of nothing else.
func validID(id string) bool {
	return id != "" && len(id) <= maxIDBytes && utf8.ValidString(id) && id[0] != '.' &&
		!strings.ContainsAny(id, `/\`) && !strings.ContainsFunc(id, unicode.IsControl)
}

func (d dir) read(id string) (Credential, error) {
	root, err := os.OpenRoot(string(d)) // links that lead out of the directory are not followed
	if err != nil {
		return Credential{}, err
	}
	defer root.Close()

	b, err := d.readFile(root, id, id+".json")
	if err == nil {
		return d.parse(id, b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Credential{}, err
	}
	st, err := root.Stat(id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return Credential{}, job.Errorf(job.UnknownCredential,
			fmt.Sprintf("Put the credential there as %s.json, or correct the id in the request", id),
			"there is no credential %q in the wallet directory %s", id, d)
	}
	if err != nil {
		return Credential{}, err
	}
	return d.readMounted(root, id)
}

// parse reads the content of <id>.json. It quotes nothing of it, and so wraps
// no error of package json, which does.
func (d dir) parse(id string, b []byte) (Credential, error) {
	var file struct {
		ID       *string `json:"id"`
		Type     string  `json:"type"`
		Username string  `json:"username"`
		Password string  `json:"password"`
		Domain   string  `json:"domain"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		found := "it is not a JSON object with strings as the values of its keys"
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			found = fmt.Sprintf("it is not valid JSON at byte %d", syntax.Offset)
		}
		return Credential{}, d.unusable(id, id+".json", found)
	}
	if file.ID != nil && *file.ID != id {
		return Credential{}, d.unusable(id, id+".json", fmt.Sprintf("it holds the credential %q", *file.ID))
	}
	return d.complete(id, id+".json", Credential{
		ID: id, Type: file.Type, Username: file.Username, Password: NewSecret(file.Password), Domain: file.Domain,
	})
}

// readMounted reads the files of <id>/.
func (d dir) readMounted(root *os.Root, id string) (Credential, error) {
	var value [3]string
	for i, name := range []string{"username", "password", "domain"} {
		b, err := d.readFile(root, id, id+"/"+name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Credential{}, err
		}
		s, _ := strings.CutSuffix(string(b), "\n")
		value[i], _ = strings.CutSuffix(s, "\r")
	}
	return d.complete(id, id, Credential{ID: id, Username: value[0], Password: NewSecret(value[1]), Domain: value[2]})
}

func (d dir) complete(id, file string, c Credential) (Credential, error) {
	switch {
	case c.Type == "" || strings.EqualFold(c.Type, UsernamePassword):
		c.Type = UsernamePassword
	default:
		return Credential{}, d.unusable(id, file, fmt.Sprintf("its type is %q, and this release uses %s only", c.Type, UsernamePassword))
	}
	if c.Username == "" {
		return Credential{}, d.unusable(id, file, "it has no username")
	}
	if c.Password.Reveal() == "" {
		return Credential{}, d.unusable(id, file, "it has no password")
	}
	return c, nil
}

// readFile reads a file that only its owner may touch.
func (d dir) readFile(root *os.Root, id, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat() // of what is open, so that nobody can exchange it in between
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, d.unusable(id, name, "it is not a regular file")
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, job.Errorf(job.UnknownCredential,
			"Take the rights of group and others away (chmod 600; defaultMode: 0400 for a Kubernetes secret), and change the password if it may have been read",
			"%s/%s, the credential %q, is open to others than its owner (mode %04o)", d, name, id, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFileBytes {
		return nil, d.unusable(id, name, fmt.Sprintf("it has more than %d bytes", maxFileBytes))
	}
	return b, nil
}

func (d dir) unusable(id, file, found string) error {
	return job.Errorf(job.UnknownCredential, "Correct the credential in the wallet directory",
		"%s/%s, the credential %q, cannot be used: %s", d, file, id, found)
}
