package xapi

import "time"

// Always is how often an error is injected that does not end.
const Always = -1

// fault is an error that calls are to have.
type fault struct {
	failure *failure
	left    int // how many times; Always
}

// Inject makes calls of a method ("VM.start", also as Async.VM.start; "*" for
// all but the login; Import) fail with the error, that many times. A
// call that was to be carried out does nothing. An Async call fails in its task,
// and so does an import.
func (p *Pool) Inject(method string, times int, code string, params ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[method] = append(p.faults[method], &fault{failure: fail(code, params...), left: times})
}

// ClearFaults takes back all of Inject.
func (p *Pool) ClearFaults() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.faults)
}

// injected gives the error that a call is to have.
func (p *Pool) injected(method string) error {
	names := []string{method, "*"}
	if method == "session.login_with_password" {
		names = names[:1]
	}
	for _, name := range names {
		for _, f := range p.faults[name] {
			if f.left == 0 {
				continue
			}
			if f.left > 0 {
				f.left--
			}
			return f.failure
		}
	}
	return nil
}

// Delay makes a method take that long before it does anything, in calls and in
// tasks. The objects that it works on are in use meanwhile.
func (p *Pool) Delay(method string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delays[method] = d
}

// LandCancelled makes tasks of a method do their work although they were
// cancelled, and say that they are cancelled.
func (p *Pool) LandCancelled(method string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lands[method] = true
}

// Fill leaves that many bytes free in the SR of that name.
func (p *Pool) Fill(sr string, freeBytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ref := range p.referring("SR", "name_label", sr) {
		p.filled[ref] = 0
		p.filled[ref] = p.get("SR", ref).number("physical_size") - p.used(ref) - freeBytes
	}
}

// Call is a call that a client makes.
type Call struct {
	Method string // as the client calls it: "Async.VM.clone"; Import
	Params []any  // without the session
	// Changes reports whether it can change anything but sessions.
	Changes bool
}

// Hook has f look at each call before anything is done. If f is false, the call
// is not carried out, and its connection ends without an answer. The last Hook
// counts; nil is none.
func (p *Pool) Hook(f func(Call) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = f
}

// pass asks the hook.
func (p *Pool) pass(c Call) bool {
	p.mu.Lock()
	f := p.hook
	p.mu.Unlock()
	return f == nil || f(c)
}
