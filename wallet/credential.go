package wallet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Provider gives credentials by id.
type Provider interface {
	// Credential gives the credential of that id as it is now. If there is no
	// usable one, the error is a *job.Error with code UNKNOWN_CREDENTIAL that
	// names the id, where it was looked up and what to do.
	Credential(ctx context.Context, id string) (Credential, error)
}

// UsernamePassword is the type of the credentials of SMB shares, vCenter and
// XenServer, as the Credential Wallet API spells it.
const UsernamePassword = "UsernamePassword"

// Credential is one entry of the wallet. It may be printed and logged: that
// shows everything but the password.
type Credential struct {
	ID       string
	Type     string // UsernamePassword
	Username string
	Password Secret
	Domain   string // may be empty
}

const redacted = "[redacted]"

// Secret is a string that shows itself only to Reveal.
type Secret struct {
	// A pointer, because package fmt cannot call the methods of what lies in a
	// caller's unexported field: there it prints an address.
	s *string
}

// NewSecret makes a Secret of s.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal gives the string, to be passed on to whoever asks for the password.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// Format implements fmt.Formatter: every verb gives "[redacted]".
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText gives "[redacted]". It serves encoding/json and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "[redacted]" to package slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format implements fmt.Formatter: every verb gives what String gives.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// String gives the credential without its password.
func (c Credential) String() string {
	user := c.Username
	if c.Domain != "" {
		user = c.Domain + `\` + user
	}
	return fmt.Sprintf("credential %q (%s, user %q)", c.ID, c.Type, user)
}

// GoString gives what String gives.
func (c Credential) GoString() string { return c.String() }

// LogValue gives the credential without its password to package slog.
func (c Credential) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", c.ID), slog.String("type", c.Type),
		slog.String("username", c.Username), slog.String("domain", c.Domain))
}

// MarshalJSON gives the credential without its password. There is no way back:
// a credential is not meant to travel.
func (c Credential) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Username string `json:"username"`
		Domain   string `json:"domain,omitempty"`
	}{c.ID, c.Type, c.Username, c.Domain})
}
