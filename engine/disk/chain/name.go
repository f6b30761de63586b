package chain

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// parentPath is one of the paths under which a child may find its parent.
type parentPath struct {
	kind string // for messages: "relative path"
	path string // as stored; empty if there is none
}

// candidate is a name in the folder to look for a parent under.
type candidate struct {
	name string
	from parentPath
}

// candidates gives the names to try, in the order of the paths and each once.
// Of a path only the last element counts: a chain lies in one folder, and what
// is above it was often another one when the child was made.
func candidates(paths []parentPath) []candidate {
	var found []candidate
next:
	for _, from := range paths {
		name, ok := baseName(from.path)
		if !ok {
			continue
		}
		for _, earlier := range found {
			if strings.EqualFold(earlier.name, name) {
				continue next
			}
		}
		found = append(found, candidate{name, from})
	}
	return found
}

// maxNameUnits is the limit of a file name in UTF-16 units, [MS-FSCC] 2.1.5.2.
const maxNameUnits = 255

// baseName gives the last element of a Windows path, behind the last separator
// or drive. It is false if that is not a file name by [MS-FSCC] 2.1.5, or a
// second spelling of another one.
func baseName(path string) (name string, ok bool) {
	// Some writers count the terminator of their C strings.
	path = strings.TrimRight(path, "\x00")
	if len(path) >= 2 && path[1] == ':' {
		path = path[2:] // C:name is relative to the drive's current folder
	}
	name = path[strings.LastIndexAny(path, `\/`)+1:]
	switch {
	case name == "" || name == "." || name == "..",
		!utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError),
		strings.ContainsAny(name, `:"*<>?|`),
		strings.ContainsFunc(name, unicode.IsControl),
		strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "),
		len(utf16.Encode([]rune(name))) > maxNameUnits:
		return "", false
	}
	return name, true
}
