package gce

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Fault is how a call fails, or an operation.
type Fault struct {
	// Status, Reason and Message are those of the API's error.
	Status  int
	Reason  string
	Message string
	// RetryAfter is when the caller is to come back, 0 if that is not said.
	RetryAfter time.Duration
	// Code makes the operation that the call starts fail in place of the call,
	// such as QUOTA_EXCEEDED.
	Code string
}

func (f *Fault) Error() string { return fmt.Sprintf("%s (%d %s)", f.Message, f.Status, f.Reason) }

func invalid(format string, args ...any) *Fault {
	return &Fault{Status: http.StatusBadRequest, Reason: "invalid", Message: fmt.Sprintf(format, args...)}
}

func notFound(what string) *Fault {
	return &Fault{Status: http.StatusNotFound, Reason: "notFound", Message: fmt.Sprintf("The resource '%s' was not found", what)}
}

func taken(what string) *Fault {
	return &Fault{Status: http.StatusConflict, Reason: "alreadyExists", Message: fmt.Sprintf("The resource '%s' already exists", what)}
}

func notReady(what string) *Fault {
	return &Fault{Status: http.StatusBadRequest, Reason: "resourceNotReady", Message: fmt.Sprintf("The resource '%s' is not ready", what)}
}

func inUse(what, by string) *Fault {
	return &Fault{
		Status: http.StatusBadRequest, Reason: "resourceInUseByAnotherResource",
		Message: fmt.Sprintf("The resource '%s' is already being used by '%s'", what, by),
	}
}

func forbidden(permission, what string) *Fault {
	return &Fault{Status: http.StatusForbidden, Reason: "forbidden", Message: fmt.Sprintf("Required '%s' permission for '%s'", permission, what)}
}

// asFault gives any error as one of the API's.
func asFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Status: http.StatusInternalServerError, Reason: "internalError", Message: err.Error()}
}

// faults are what was asked for. The Cloud's lock guards them.
type faults struct {
	injected map[string]*injection
	delays   map[string]time.Duration
	denied   map[string]bool
	stockOut map[string]string // code by zone
	most     int               // instances, 0 for any number
}

type injection struct {
	Fault
	left int // how often, less than 0 for always
}

func newFaults() faults {
	return faults{
		injected: make(map[string]*injection), delays: make(map[string]time.Duration),
		denied: make(map[string]bool), stockOut: make(map[string]string),
	}
}

// Inject makes the next calls of a method fail, or always if times is 0.
func (c *Cloud) Inject(method string, f Fault, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if times == 0 {
		times = -1
	}
	c.faults.injected[method] = &injection{f, times}
}

// ClearFaults takes back all of Inject.
func (c *Cloud) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.faults.injected)
}

// Delay makes the operations of a method take that long. What they make does not
// show before, but has its name.
func (c *Cloud) Delay(method string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults.delays[method] = d
}

// Deny takes permissions from the service account.
func (c *Cloud) Deny(permissions ...string) { c.setDenied(true, permissions) }

// Allow gives them back.
func (c *Cloud) Allow(permissions ...string) { c.setDenied(false, permissions) }

func (c *Cloud) setDenied(denied bool, permissions []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range permissions {
		c.faults.denied[p] = denied
	}
}

// StockOut makes instances that are to run in the zone fail with that code, such
// as ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS. With "" there is room again.
func (c *Cloud) StockOut(zone, code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults.stockOut[zone] = code
}

// Quota sets how many instances there may be, 0 for any number.
func (c *Cloud) Quota(instances int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults.most = instances
}

// EndSessions makes all tokens worthless that were given out.
func (c *Cloud) EndSessions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tokens)
}

// injected gives the fault of a call, if it is to have one. The caller holds the
// lock.
func (c *Cloud) injected(method string) *Fault {
	i := c.faults.injected[method]
	if i == nil || i.left == 0 {
		return nil
	}
	i.left--
	f := i.Fault
	return &f
}

// lacks gives the fault of the first permission that the account does not have.
// The caller holds the lock.
func (c *Cloud) lacks(what string, permissions ...string) error {
	for _, p := range permissions {
		if c.faults.denied[p] {
			return forbidden(p, what)
		}
	}
	return nil
}
