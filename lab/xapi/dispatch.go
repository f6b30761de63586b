package xapi

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is a call that is carried out.
type call struct {
	p       *Pool
	name    string // without "Async."
	m       *message
	params  []any // without the session
	session string
	task    string        // its reference, also if it is in no database
	cancel  chan struct{} // is closed when the task is cancelled
}

// text gives a parameter that is a string, as its type says.
func (c *call) text(i int) string { s, _ := c.params[i].(string); return s }

// number gives a parameter that is an int.
func (c *call) number(i int) int64 { n, _ := c.params[i].(int64); return n }

// record gives a parameter that is a record.
func (c *call) record(i int) record { r, _ := c.params[i].(record); return r }

// self is the object that the call is made on.
func (c *call) self() record { return c.p.get(c.m.class, c.text(0)) }

// handler carries out a message that is not the same in every class. It is called
// with the pool's lock.
type handler struct {
	do func(*call) (any, error)
	// operation is what the message does to the object that it is made on: it
	// must be allowed there, and goes on until do has returned.
	operation string
	// cancellable is of a message whose task ends when it is cancelled before do.
	cancellable bool
}

// extra are messages that no description has.
var extra = map[string]bool{"system.listMethods": true}

// serve carries out what a client calls, with all parameters.
func (p *Pool) serve(method string, params []any) (any, error) {
	name, async := strings.CutPrefix(method, "Async.")
	if extra[name] {
		return p.listMethods(), nil
	}
	m := official().messages[name]
	if m == nil || async && !m.async {
		return nil, fail("MESSAGE_METHOD_UNKNOWN", method)
	}
	if name == "session.login_with_password" {
		// Old clients give neither a version nor who they are.
		for len(params) >= 2 && len(params) < len(m.params) {
			params = append(slices.Clone(params), "")
		}
	}
	if len(params) != len(m.params) {
		return nil, fail("MESSAGE_PARAMETER_COUNT_MISMATCH", method, strconv.Itoa(len(m.params)), strconv.Itoa(len(params)))
	}
	c := &call{p: p, name: name, m: m, cancel: make(chan struct{})}
	for i, typ := range m.params {
		v, err := official().convert(typ, params[i], method+"."+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		c.params = append(c.params, v)
	}
	p.mu.Lock()
	if name == "session.login_with_password" {
		defer p.mu.Unlock()
		return c.login()
	}
	c.session, _ = c.params[0].(string)
	c.params = c.params[1:]
	if err := c.admit(); err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if !async {
		defer p.mu.Unlock()
		c.task = "OpaqueRef:" + newUUID()
		return c.run()
	}
	defer p.mu.Unlock()
	if p.closed {
		return nil, internal("the pool is shut down")
	}
	c.task = p.insert("task", record{
		"name_label": method, "status": "pending", "session": c.session, "created": stamp(p.cfg.Now()),
		"resident_on": p.coordinator,
	})
	p.cancels[c.task] = c.cancel
	if handlers[name].cancellable {
		p.get("task", c.task)["allowed_operations"] = []string{"cancel"}
	}
	p.landing[c.task] = name
	p.tasks.Add(1)
	go func() {
		defer p.tasks.Done()
		p.mu.Lock()
		defer p.mu.Unlock()
		result, err := c.run()
		p.complete(c.task, result, err)
	}()
	return c.task, nil
}

// admit refuses who has no session, or no permission.
func (c *call) admit() error {
	if c.p.objects["session"][c.session] == nil {
		return fail("SESSION_INVALID", c.session)
	}
	c.p.get("session", c.session)["last_active"] = stamp(c.p.cfg.Now())
	if !c.p.may(c.m, c.name) {
		return fail("RBAC_PERMISSION_DENIED", strings.ToLower(c.name), "No permission in user session.")
	}
	return nil
}

// run carries out the call. The caller holds the lock, which is given up
// meanwhile if that takes time.
func (c *call) run() (any, error) {
	if err := c.handles(); err != nil {
		return nil, err
	}
	h, special := handlers[c.name]
	if h.operation != "" {
		ref := c.text(0)
		if err := c.p.allow(c.m.class, ref, h.operation); err != nil {
			return nil, err
		}
		c.self().dict("current_operations")[c.task] = h.operation
		defer func() {
			if o := c.p.get(c.m.class, ref); o != nil {
				delete(o.dict("current_operations"), c.task)
			}
		}()
	}
	if err := c.wait(h.cancellable); err != nil {
		return nil, err
	}
	if err := c.handles(); err != nil {
		return nil, err
	}
	if !special {
		return c.access()
	}
	return h.do(c)
}

// handles refuses references to what is not there.
func (c *call) handles() error {
	for i, v := range c.params {
		typ := c.m.params[i+1]
		if i > 0 && v == null {
			continue // whether nothing will do there is for the message to say
		}
		if err := c.p.live(typ, v); err != nil {
			return err
		}
	}
	return nil
}

// wait takes the time that the message is said to take, and then fails if that
// was asked for.
func (c *call) wait(cancellable bool) error {
	if d := c.p.delays[c.name]; d > 0 {
		var cancelled <-chan struct{}
		if cancellable {
			cancelled = c.cancel
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		err := c.unlocked(func() error {
			select {
			case <-timer.C:
				return nil
			case <-cancelled:
				return fail("TASK_CANCELLED", c.task)
			case <-c.p.closing:
				return internal("the pool is shut down")
			}
		})
		if err != nil {
			return err
		}
	}
	return c.p.injected(c.name)
}

// unlocked does what takes time without the pool's lock.
func (c *call) unlocked(do func() error) error {
	c.p.mu.Unlock()
	defer c.p.mu.Lock()
	return do()
}

// listMethods gives the names of all messages.
func (p *Pool) listMethods() []string {
	var all []string
	for name, m := range official().messages {
		all = append(all, name)
		if m.async {
			all = append(all, "Async."+name)
		}
	}
	for name := range extra {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// changes reports whether a message can change anything that lasts.
func changes(method string) bool {
	name := strings.TrimPrefix(method, "Async.")
	class, verb, _ := strings.Cut(name, ".")
	return class != "session" && class != "system" && !strings.HasPrefix(verb, "get_")
}
