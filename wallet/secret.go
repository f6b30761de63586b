package wallet

import (
	"fmt"
	"log/slog"
)

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
