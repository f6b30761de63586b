package share

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Credential is a user name and password. It never prints itself: whatever
// formats, logs or marshals one gets a fixed text.
type Credential struct {
	// Username is a plain name, DOMAIN\user or user@domain. With Domain set it
	// is taken literally.
	Username string
	Password string
	// Domain is empty for an account of the server itself.
	Domain string
}

const redacted = "[redacted]"

func (Credential) String() string               { return redacted }
func (Credential) GoString() string             { return redacted }
func (Credential) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Credential) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Format implements fmt.Formatter, for the verbs that do not ask String or GoString.
func (Credential) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// account splits off the domain.
func (c Credential) account() (user, domain string) {
	if c.Domain != "" {
		return c.Username, c.Domain
	}
	if domain, user, ok := strings.Cut(c.Username, `\`); ok {
		return user, domain
	}
	if i := strings.LastIndexByte(c.Username, '@'); i > 0 {
		return c.Username[:i], c.Username[i+1:]
	}
	return c.Username, ""
}

// display is the user for messages.
func (c Credential) display() string {
	user, domain := c.account()
	if domain == "" {
		return user
	}
	return domain + `\` + user
}
