package xapi

import (
	"crypto/subtle"
	"maps"
	"slices"
	"strings"
)

// login implements session.login_with_password, for the pool's only user.
func (c *call) login() (any, error) {
	if err := c.p.injected(c.name); err != nil {
		return nil, err
	}
	// Both are compared in any case, so that the time says nothing of either.
	user := subtle.ConstantTimeCompare([]byte(c.text(0)), []byte(c.p.cfg.Username))
	password := subtle.ConstantTimeCompare([]byte(c.text(1)), []byte(c.p.cfg.Password))
	if user&password != 1 {
		return nil, fail("SESSION_AUTHENTICATION_FAILED", c.text(0), "Authentication failure")
	}
	now := stamp(c.p.cfg.Now())
	return c.p.insert("session", record{
		"this_host": c.p.coordinator, "last_active": now, "validation_time": now, "pool": false,
		"auth_user_name": c.text(0), "originator": c.text(3),
	}), nil
}

// logout implements session.logout.
func logout(c *call) (any, error) {
	delete(c.p.objects["session"], c.session)
	return "", nil
}

// EndSessions ends all sessions, as a coordinator that is restarted does.
func (p *Pool) EndSessions() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.objects["session"])
}

// SetRole gives the user another role than pool-admin: one of read-only,
// vm-operator, vm-admin, vm-power-admin, pool-operator and pool-admin. Calls that
// need a higher one are RBAC_PERMISSION_DENIED.
func (p *Pool) SetRole(role string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.role = role
}

// Revoke takes permissions from the user: names of methods, "VM.start".
func (p *Pool) Revoke(methods ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range methods {
		p.revoked[m] = true
	}
}

// Grant gives back what Revoke took.
func (p *Pool) Grant(methods ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range methods {
		delete(p.revoked, m)
	}
}

// may reports whether the user may do what the message does.
func (p *Pool) may(m *message, name string) bool {
	return !p.revoked[name] && slices.Index(roles, m.role) <= slices.Index(roles, p.role)
}

// superuser reports whether the user is one that may do all, as root is.
func (p *Pool) superuser() bool { return p.role == roles[len(roles)-1] && len(p.revoked) == 0 }

// Import is what the import of disks is to Revoke, Inject and Hook.
const Import = "import_raw_vdi"

// importRole is the least role that may import.
const importRole = "vm-admin"

// permissions are the user's, in lower case as XAPI has them. Who may do all has
// no list.
func (p *Pool) permissions() []string {
	all := []string{}
	if p.superuser() {
		return all
	}
	if p.may(&message{role: importRole}, Import) {
		all = append(all, "http/put_"+Import)
	}
	for _, name := range slices.Sorted(maps.Keys(official().messages)) {
		if p.may(official().messages[name], name) {
			all = append(all, strings.ToLower(name))
		}
	}
	return all
}
