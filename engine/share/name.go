package share

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"imageport/job"
)

// checkName refuses what is not a plain file name.
func checkName(name string) error {
	if reason := badName(name); reason != "" {
		return job.Errorf(job.BadRequest, "Give the name of a file, without a path",
			"%q is not a file name: it %s", name, reason)
	}
	return nil
}

// badName says what keeps s from being one element of a path, or "". The rules
// are those of [MS-FSCC] 2.1.5, and that s must not be a second spelling of
// another name.
func badName(s string) string {
	switch {
	case s == "":
		return "is empty"
	case s == "." || s == "..":
		return "points to a folder"
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsAny(s, `/\`):
		return "contains a path separator"
	case strings.Contains(s, ":"):
		return "contains a colon, which would name a stream"
	case strings.ContainsAny(s, `"*<>?|`):
		return `contains one of "*<>?|, which SMB reserves`
	case strings.ContainsFunc(s, unicode.IsControl):
		return "contains a control character"
	case strings.HasSuffix(s, ".") || strings.HasSuffix(s, " "):
		return "ends in a dot or a space, which Windows drops"
	case len(utf16.Encode([]rune(s))) > 255:
		return "is longer than 255 characters"
	}
	return ""
}
