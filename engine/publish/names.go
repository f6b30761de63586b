package publish

import (
	"strings"

	"imageport/engine/source"
)

// Names are those that one run of a job uses on the share beside its output:
// all begin with the output's name and the key.
type Names struct {
	Output string // file name
	// Key is the short name of the job's run. It holds no dot.
	Key string
}

// prefix begins the names of all files that the job has on the share besides
// its output.
func (n Names) prefix() string { return n.Output + "." + n.Key + "." }

// Partial is the name that the output has until it is published. attempt tells
// the tries of the job apart: two writers that do not know of each other never
// share a file.
func (n Names) Partial(attempt string) string { return n.prefix() + attempt + ".partial" }

// PartialOf is Partial for another file that is published with the output.
func (n Names) PartialOf(attempt, name string) string {
	return n.prefix() + attempt + "." + name + ".partial"
}

// isPartial reports whether name is a partial file of this job.
func (n Names) isPartial(name string) bool {
	return hasPrefixFold(name, n.prefix()) && strings.HasSuffix(name, ".partial")
}

// replaced is where a file that the job replaces waits until the job ends.
func (n Names) replaced(name string) string {
	if name == n.Output {
		return n.prefix() + "replaced"
	}
	return n.prefix() + name + ".replaced"
}

// claim is the file that says that this job publishes its output.
func (n Names) claim() string { return n.prefix() + "claim" }

// claimedBy gives the key of the job whose claim on the same output the file is.
func (n Names) claimedBy(name string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(name), strings.ToLower(n.Output)+".")
	if !ok {
		return "", false
	}
	key, ok = strings.CutSuffix(rest, ".claim")
	return key, ok && key != "" && !strings.Contains(key, ".")
}

// hasPrefixFold compares as a share does, which does not tell cases apart.
func hasPrefixFold(s, prefix string) bool {
	return strings.HasPrefix(strings.ToLower(s), strings.ToLower(prefix))
}

// Piece is a file that waits for its name.
type Piece struct {
	Name string `json:"name"`
	// Partial is the name that it has until then.
	Partial string `json:"partial"`
	// File identifies it, under either name: renaming changes neither. Another
	// run of the same job writes the same bytes, but at another time.
	File source.FileID `json:"file"`
	// Existing is the file that it replaces; nil where there must be none.
	Existing *source.FileID `json:"existing,omitempty"`
}

// Place is that of the piece.
func (p Piece) Place() Place { return Place{p.Name, p.Existing} }

// Place is the name of a file of the job, and what was there when it began.
type Place struct {
	Name     string         `json:"name"`
	Existing *source.FileID `json:"existing,omitempty"`
}
