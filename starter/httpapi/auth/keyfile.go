package auth

import (
	"context"
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

// load reads the file if it has changed.
func (f *KeyFile) load() error {
	f.at = f.now()
	var seen stamp
	if st, err := f.stat(); err == nil {
		seen = stamp{st.ModTime(), st.Size()}
	}
	if seen == f.known {
		return nil
	}
	f.known = seen // also where it cannot be used: once is enough to say so
	if seen == (stamp{}) {
		f.keys = Keys{} // removed: nobody is let in by it
		return nil
	}
	text, err := f.read()
	if err != nil {
		return fmt.Errorf("the file of API keys: %w", err)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return fmt.Errorf("the file of API keys: %w", err)
	}
	f.keys = keys
	return nil
}

// Keys gives the keys as they are now.
func (f *KeyFile) Keys() Keys {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Sub(f.at) >= lookAgain {
		if err := f.load(); err != nil {
			f.bad(err)
		}
	}
	return f.keys
}

// Authenticate implements Authenticator.
func (f *KeyFile) Authenticate(ctx context.Context, token string) (Principal, error) {
	return f.Keys().Authenticate(ctx, token)
}
