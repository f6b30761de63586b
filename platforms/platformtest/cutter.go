package platformtest

import (
	"errors"
	"sync"
	"testing"

	"imageport/platforms"
)

// deadError is what a dead worker's calls give.
type deadError struct{}

func (deadError) Error() string { return "the worker is dead" }

// NonRetriable keeps Azure's SDK from trying again.
func (deadError) NonRetriable() {}

// ErrDead is what a dead worker's calls give.
var ErrDead error = deadError{}

// Cutter is the death of a worker: it lets some calls of a platform's API through
// that change something, and then none at all, as a process that has died makes none.
type Cutter struct {
	mu   sync.Mutex
	left int
	dead bool
}

// Call is to be asked before each call. Its error is ErrDead.
func (c *Cutter) Call(changes bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The last one let through is a step; what it started goes on without us.
	c.dead = c.dead || c.left == 0
	if c.dead {
		return ErrDead
	}
	if changes {
		c.left--
	}
	return nil
}

// CutBy is Harness.Cut for a driver that asks a Cutter before each call. quiet waits
// for what goes on without the worker.
func CutBy(t testing.TB, call Call, n int, open func(*Cutter) platforms.Driver, quiet func()) (finished bool) {
	t.Helper()
	c := &Cutter{left: n + 1}
	err := call.Do(t.Context(), open(c))
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if dead != errors.Is(err, ErrDead) && err != nil {
		t.Fatalf("%s of a worker that died (%v): %v", call.Verb, dead, err)
	}
	if dead {
		quiet()
	}
	return !dead
}
