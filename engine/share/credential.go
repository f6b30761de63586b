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
	// Username is a plain name, DOMAIN\user or user@domain. The last goes to the
	// server as it is, with an empty domain, because only a domain controller
	// knows what is before and after the @ of a user principal name: it need be
	// neither the account's name nor the domain's. With Domain set, Username is
	// taken literally.
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
