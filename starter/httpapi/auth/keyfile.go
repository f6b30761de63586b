package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// lookAgain is how often a KeyFile looks whether its file has changed.
const lookAgain = time.Second

// KeyFile gives the keys of a file that may change while it is used. Create one
// with NewKeyFile.
type KeyFile struct {
	read  func() ([]byte, error)
	stat  func() (fs.FileInfo, error)
	now   func() time.Time
	bad   func(error)
	mu    sync.Mutex
	at    time.Time
	known stamp
	keys  Keys
	said  string // what bad was told last, "" while all is well
}

// stamp tells one content of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

// NewKeyFile gives the keys of the file that read and stat are of. A file that
// has become unusable is told to bad once, and the keys stay as they were; at
// first, it is an error. A file that is not there has no keys.
func NewKeyFile(read func() ([]byte, error), stat func() (fs.FileInfo, error), now func() time.Time, bad func(error)) (*KeyFile, error) {
	f := &KeyFile{read: read, stat: stat, now: now, bad: bad}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// load reads the file if it has changed. One that cannot be used is read again
// the next time: a key that was removed must not be taken for long.
func (f *KeyFile) load() error {
	f.at = f.now()
	var seen stamp
	switch st, err := f.stat(); {
	case err == nil:
		seen = stamp{st.ModTime(), st.Size()}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the file of API keys: %w", err)
	}
	if seen == f.known {
		return nil
	}
	var keys Keys // of a file that was removed: nobody is let in by it
	if seen != (stamp{}) {
		text, err := f.read()
		if err == nil {
			keys, err = ParseKeys(text)
		}
		if err != nil {
			return fmt.Errorf("the file of API keys: %w", err)
		}
	}
	f.known, f.keys = seen, keys
	return nil
}

// Keys gives the keys as they are now.
func (f *KeyFile) Keys() Keys {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Sub(f.at) < lookAgain {
		return f.keys
	}
	said := ""
	if err := f.load(); err != nil {
		if said = err.Error(); said != f.said {
			f.bad(err)
		}
	}
	f.said = said
	return f.keys
}

// Authenticate implements Authenticator.
func (f *KeyFile) Authenticate(ctx context.Context, token string) (Principal, error) {
	return f.Keys().Authenticate(ctx, token)
}
