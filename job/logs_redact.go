package job

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Redacted stands where a secret was.
const Redacted = "[redacted]"

// minSecret is the length from which a secret is looked for by its value, in
// bytes: a shorter one would take half of a log with it.
const minSecret = 4

// secretWord is a word that a secret goes by.
const secretWord = `(?:password|passwd|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key|account[-_]?key|private[-_]?key|client[-_]?key|sas[-_]?key)`

// privateKey is a private key in PEM. One that was cut off ends with the text.
var privateKey = regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)

// hints are what a line has, in lower case, that one of redactions may match:
// most lines have none, and are not looked at any closer.
var hints = []string{"pass", "pwd", "secret", "token", "key", "authorization", "cookie", "bearer", "eyj", "://", "sig"}

// redactions are what a secret in a line looks like, and what is left of it, in
// this order.
var redactions = []struct {
	like *regexp.Regexp
	left string
}{
	{regexp.MustCompile(`(?i)\bAGE-SECRET-KEY-[0-9A-Z]+`), Redacted},
	// A JSON web token.
	{regexp.MustCompile(`\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*`), Redacted},
	// Headers of HTTP: all that is in them.
	{regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|x-api-key|set-cookie|cookie)(["']?\s*[:=]\s*["']?)[^"'\r\n]+`), "${1}${2}" + Redacted},
	{regexp.MustCompile(`(?i)\b(bearer(?:\s*=\s*|\s+))(?:[\w.~+/-]{16,}=*|"[^"\r\n]*")`), "${1}" + Redacted},
	{regexp.MustCompile(`(?i)\b(bearer\s*=\s*)[^\s"',;&]+`), "${1}" + Redacted},
	// scheme://user:password@host
	{regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:"']*:[^\s/@"']+@`), "${1}" + Redacted + "@"},
	// A signature in a URL, as of a shared access signature or a presigned one.
	{regexp.MustCompile(`(?i)([?&](?:sig|signature|x-amz-signature|x-goog-signature)=)[^&\s"'<>]+`), "${1}" + Redacted},
	// key=value and "key": "value", also with the quotes of a quotation. A value
	// in quotes ends with them.
	{regexp.MustCompile(`(?i)([\w.-]*` + secretWord + `\w*(?:\\*["'])?\s*[:=]\s*)(?:\\"(?:[^"\\]|\\[^"])*\\"|"(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*'|[^\s"',;&<>]+)`), "${1}" + Redacted},
	// --key value
	{regexp.MustCompile(`(?i)(\s--?[\w-]*` + secretWord + `[ \t]+)("[^"\r\n]*"|'[^'\r\n]*'|[^\s"',;&-][^\s"',;&]*)`), "${1}" + Redacted},
}

// Redact takes out of a text what looks like a secret: private keys, tokens,
// credentials in URLs, headers that carry some, and the values of what is called
// a password or the like. It errs on the side of taking too much.
func Redact(text string) string {
	text = privateKey.ReplaceAllString(text, "${1}"+Redacted+"${2}")
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(redactLine(line))
	}
	return out.String()
}

func redactLine(line string) string {
	lower := strings.ToLower(line)
	if !slices.ContainsFunc(hints, func(hint string) bool { return strings.Contains(lower, hint) }) {
		return line
	}
	for _, r := range redactions {
		line = r.like.ReplaceAllString(line, r.left)
	}
	return line
}

// Secrets are values that no text may show. They are found as they are, and as
// logs, JSON and URLs write them.
type Secrets struct{ forms []string }

// Add adds a value. One that is shorter than four bytes is not looked for.
func (s *Secrets) Add(value string) {
	if len(value) < minSecret || slices.Contains(s.forms, value) {
		return
	}
	forms := []string{value, strings.Trim(strconv.Quote(value), `"`), url.QueryEscape(value), url.PathEscape(value)}
	if b, err := json.Marshal(value); err == nil {
		forms = append(forms, strings.Trim(string(b), `"`))
	}
	for _, f := range forms {
		if len(f) >= minSecret && !slices.Contains(s.forms, f) {
			s.forms = append(s.forms, f)
		}
	}
	// The longest first: one may be a part of another.
	slices.SortStableFunc(s.forms, func(a, b string) int { return len(b) - len(a) })
}

// Redact takes the values out of a text, and what Redact takes.
func (s *Secrets) Redact(text string) string {
	for _, f := range s.forms {
		text = strings.ReplaceAll(text, f, Redacted)
	}
	return Redact(text)
}

// secretKey is the name of a value that is a secret.
var secretKey = regexp.MustCompile(`(?i)` + secretWord + `$`)

// RedactJSON redacts every text in a decoded JSON value, in place, and gives it:
// texts by Redact, and those under the name of a secret as a whole.
func RedactJSON(value any) any {
	switch v := value.(type) {
	case string:
		return Redact(v)
	case []any:
		for i := range v {
			v[i] = RedactJSON(v[i])
		}
	case map[string]any:
		//workflowcheck:ignore
		for key, inner := range v { // in any order: each by itself
			if text, ok := inner.(string); ok && text != "" && secretKey.MatchString(key) {
				v[key] = Redacted
			} else {
				v[key] = RedactJSON(inner)
			}
		}
	}
	return value
}
