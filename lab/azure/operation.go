package azure

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The provisioning states that there are.
const (
	stateCreating  = "Creating"
	stateUpdating  = "Updating"
	stateDeleting  = "Deleting"
	stateSucceeded = "Succeeded"
	stateFailed    = "Failed"
)

// operation is one that goes on after its request was answered.
type operation struct {
	id        string
	preempted chan struct{}

	// What follows is guarded by the Cloud's mu.
	polls    int // how often it is still said to be in progress at least
	finished bool
	err      *Fault
	result   any // what its Location gives
}

// begin starts work that is done after the delay that the call has, unless it is
// preempted. The caller holds mu.
func (c *Cloud) begin(call string, work func(*operation) *Fault) *operation {
	c.count++
	op := &operation{id: fmt.Sprintf("00000000-0000-4000-9000-%012x", c.count), preempted: make(chan struct{}), polls: c.cfg.Polls}
	c.operations[op.id] = op
	delay := c.delays[call]
	c.work.Go(func() {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-op.preempted:
		case <-c.ending:
		}
		err := work(op)
		c.mu.Lock()
		defer c.mu.Unlock()
		op.finished, op.err = true, err
	})
	return op
}

// preempt has another operation take the place of this one.
func (op *operation) preempt() {
	select {
	case <-op.preempted:
	default:
		close(op.preempted)
	}
}

// isPreempted is asked with mu held, as preempt is called.
func (op *operation) isPreempted() bool {
	select {
	case <-op.preempted:
		return true
	default:
		return false
	}
}

var errPreempted = &Fault{Status: 409, Code: "OperationPreempted", Message: "The operation has been preempted by a more recent operation."}

// status is what the URL of an operation answers.
func (c *Cloud) status(id string, result bool) (int, any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	op := c.operations[id]
	if op == nil {
		return 404, errorBody(notFound("operation", id))
	}
	if result {
		return 200, op.result
	}
	if op.polls--; op.polls >= 0 || !op.finished {
		return 200, map[string]any{"name": op.id, "status": "InProgress"}
	}
	if op.err != nil {
		return 200, map[string]any{"name": op.id, "status": "Failed", "error": map[string]string{"code": op.err.Code, "message": op.err.Message}}
	}
	return 200, map[string]any{"name": op.id, "status": "Succeeded"}
}

func operationURL(op *operation, host string) string {
	return "https://" + host + "/subscriptions/" + SubscriptionID + "/providers/Microsoft.Compute/locations/" + Region + "/operations/" + op.id + "?api-version=2024-07-01"
}

// Fault is how a call fails, or an operation.
type Fault struct {
	Status        int
	Code, Message string
	// RetryAfter is what a refused call says, 0 for nothing.
	RetryAfter time.Duration
}

// Error gives code and message.
func (f *Fault) Error() string { return f.Code + ": " + f.Message }

func refusal(status int, code, format string, args ...any) *Fault {
	return &Fault{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func notFound(kind, name string) *Fault {
	return refusal(404, "ResourceNotFound", "The Resource '%s/%s' was not found.", kind, name)
}

var errConflict = refusal(409, "Conflict", "The request failed due to conflict with a concurrent request.")

// fault is one that was injected.
type fault struct {
	call  string
	left  int // how often it strikes, 0 for always
	later bool
	Fault
}

// Fail makes a call fail, times times or, if that is 0, until Heal. The call is
// one of the SDK such as "DisksClient.BeginDelete".
func (c *Cloud) Fail(call string, f Fault, times int) {
	c.inject(&fault{call: call, left: times, Fault: f})
}

// FailLater has the call accepted, and its operation fail.
func (c *Cloud) FailLater(call string, f Fault, times int) {
	c.inject(&fault{call: call, left: times, later: true, Fault: f})
}

func (c *Cloud) inject(f *fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
}

// take gives the fault that strikes the call now. The caller holds mu.
func (c *Cloud) take(call string, later bool) *Fault {
	for i, f := range c.faults {
		if f.call != call || f.later != later {
			continue
		}
		if f.left--; f.left == 0 {
			c.faults = append(c.faults[:i:i], c.faults[i+1:]...)
		}
		return &f.Fault
	}
	return nil
}

// Delay makes what the call starts take that long.
func (c *Cloud) Delay(call string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delays[call] = d
}

// Hold makes the request of the call take that long before it has any effect,
// whether or not who made it still waits.
func (c *Cloud) Hold(call string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds[call] = d
}

// Revoke takes the right to actions from the application. "*" stands for any text.
func (c *Cloud) Revoke(actions ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked = append(c.revoked, actions...)
}

// Only leaves the application no right but that to these actions.
func (c *Cloud) Only(actions ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted = actions
}

// LeaveBehind has a VM that is deleted leave what should go with it, as failures
// inside of Azure do.
func (c *Cloud) LeaveBehind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaves = true
}

// Heal takes back all of Fail, FailLater, Delay, Hold, Revoke, Only and
// LeaveBehind.
func (c *Cloud) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults, c.revoked, c.granted, c.leaves = nil, nil, nil, false
	clear(c.delays)
	clear(c.holds)
}

// EndSessions ends all tokens, as revoking them does.
func (c *Cloud) EndSessions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tokens)
}

// SetCores sets the quota of cores.
func (c *Cloud) SetCores(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Cores = n
}

// allowed reports whether the application has the right to an action. The caller
// holds mu.
func (c *Cloud) allowed(action string) bool {
	covers := func(pattern string) bool { return matches(pattern, action) }
	if c.granted != nil && !slices.ContainsFunc(c.granted, covers) {
		return false
	}
	return !slices.ContainsFunc(c.revoked, covers)
}

// matches compares an action with a pattern that may have stars.
func matches(pattern, action string) bool {
	pattern, action = strings.ToLower(pattern), strings.ToLower(action)
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(action, parts[0]) {
		return false
	}
	rest := action[len(parts[0]):]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(rest, p)
		}
		_, after, ok := strings.Cut(rest, p)
		if !ok {
			return false
		}
		rest = after
	}
	return rest == ""
}
