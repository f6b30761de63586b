package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"imageport/job"
)

// maxListed bounds what the details list of one kind.
const maxListed = 20

// details are what the Web UI shows of a workflow, as Markdown: what matters most
// first.
type details struct{ strings.Builder }

// paragraph adds Markdown.
func (d *details) paragraph(format string, args ...any) { fmt.Fprintf(d, format+"\n\n", args...) }

// item adds an entry to a list.
func (d *details) item(format string, args ...any) { fmt.Fprintf(d, "- "+format+"\n", args...) }

// name adds a list's entry with a name or number as it is; "" is none.
func (d *details) name(what, name string) {
	if name != "" {
		d.item("%s: %s", what, code(name))
	}
}

// problem says what went wrong, and what to do.
func (d *details) problem(e *job.Error) {
	if e == nil {
		return
	}
	d.paragraph("**%s**: %s", e.Code, plain(e.Message))
	if e.Remedy != "" {
		d.paragraph("**What to do**: %s", plain(e.Remedy))
	}
}

// show puts the details in place of those before.
func (d *details) show(ctx workflow.Context) {
	// The Web UI's frame is a little too low: the last line is lost.
	d.WriteString("\n\u00a0\n")
	workflow.SetCurrentDetails(ctx, d.String())
}

// plain is a text that the Web UI shows as it is: without this, \\host\share would
// lose a backslash, <name> be lost, and --flag have a dash that no program knows. Only
// quotes become typographic ones, whatever stands before them.
func plain(text string) string { return escape.Replace(text) }

var escape = strings.NewReplacer("\r\n", " ", "\n", " ", `\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `<`, `\<`, `&`, `\&`, `~`, `\~`,
	`$`, `\$`, `--`, `\-\-`, `..`, `\.\.`)

// code is a name in the letters of a program, whatever is in it.
func code(name string) string {
	fence := "`"
	for strings.Contains(name, fence) {
		fence += "`"
	}
	return fence + " " + name + " " + fence
}
