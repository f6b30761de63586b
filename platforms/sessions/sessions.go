package sessions

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"imageport/platforms"
)

const (
	// idle is for how long a session that nobody uses is kept for the next.
	idle = time.Hour
	// closeTimeout is for how long the end of such a session is waited for.
	closeTimeout = 30 * time.Second
)

// Key is what a session is shared by.
type Key struct {
	address, username string
	password          [sha256.Size]byte // one that was changed makes another session
	trust             [sha256.Size]byte
}

// KeyOf gives the key of a session with the server at the address.
func KeyOf(address, username, password string, trust [sha256.Size]byte) Key {
	return Key{address, username, sha256.Sum256([]byte(password)), trust}
}

// Session is what can be closed. What is called afterwards fails.
type Session interface {
	Close(ctx context.Context) error
}

// Pool holds the sessions of a platform.
type Pool[S Session] struct {
	now     func() time.Time
	closing sync.WaitGroup

	mu     sync.Mutex
	all    map[Key]*entry[S]
	closed bool
}

type entry[S Session] struct {
	session S
	users   int
	used    time.Time // last, if there are no users
}

// NewPool gives an empty pool.
func NewPool[S Session](now func() time.Time) *Pool[S] {
	return &Pool[S]{now: now, all: make(map[Key]*entry[S])}
}

// Get gives the session of the key for use within ctx, and makes it if there is none.
// It fails with Busy if the pool is closed.
func (p *Pool[S]) Get(ctx context.Context, key Key, open func() S) (s S, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return s, platforms.Errorf(platforms.Busy, "the worker is stopping")
	}
	p.closeIdle()
	e, ok := p.all[key]
	if !ok {
		e = &entry[S]{session: open()}
		p.all[key] = e
	}
	e.users++
	context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		e.users--
		e.used = p.now()
	})
	return e.session, nil
}

// closeIdle closes what nobody has used for long. The caller holds the lock.
func (p *Pool[S]) closeIdle() {
	for key, e := range p.all {
		if e.users > 0 || p.now().Sub(e.used) < idle {
			continue
		}
		delete(p.all, key)
		p.closing.Go(func() {
			ctx, stop := context.WithTimeout(context.Background(), closeTimeout)
			defer stop()
			_ = e.session.Close(ctx) // the server ends what it cannot be told of, in its time
		})
	}
}

// Close closes all sessions. None can be had any more.
func (p *Pool[S]) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	all := p.all
	p.all = nil
	p.mu.Unlock()
	var errs []error
	for _, e := range all {
		errs = append(errs, e.session.Close(ctx))
	}
	p.closing.Wait()
	return errors.Join(errs...)
}
