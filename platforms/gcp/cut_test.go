package gcp

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"imageport/platforms/platformtest"
)

// errDead is what a dead worker's calls give.
var errDead = errors.New("the worker is dead")

// tripper makes a function a http.RoundTripper.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// changes reports whether a call may change something.
func changes(r *http.Request) bool {
	for _, end := range []string{"/wait", "estIamPermissions", "/token"} {
		if strings.HasSuffix(r.URL.Path, end) {
			return false
		}
	}
	return r.Method != http.MethodGet
}

// cutter lets some calls through that change something, and then none at all, as a
// process that has died makes none.
type cutter struct {
	http.RoundTripper
	mu   sync.Mutex
	left int
	dead bool
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	if changes(r) {
		if c.left == 0 {
			c.dead = true
		}
		c.left--
	} else if c.left == 0 {
		// The last one let through is a step; what it started goes on without us.
		c.dead = true
	}
	dead := c.dead
	c.mu.Unlock()
	if dead {
		return nil, errDead
	}
	return c.RoundTripper.RoundTrip(r)
}

func (h *harness) Cut(t testing.TB, call platformtest.Call, n int) bool {
	t.Helper()
	cfg := h.cfg
	var c *cutter
	cfg.Wrap = func(r http.RoundTripper) http.RoundTripper {
		c = &cutter{RoundTripper: r, left: n + 1}
		return c
	}
	err := call.Do(t.Context(), h.open(t, cfg, h.where))
	if c.dead {
		if !errors.Is(err, errDead) {
			t.Fatalf("%s of a worker that died: %v", call.Verb, err)
		}
		h.quiet(t)
		return false
	}
	if err != nil {
		t.Fatalf("%s: %v", call.Verb, err)
	}
	return true
}
