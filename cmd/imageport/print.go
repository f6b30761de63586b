package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"imageport/job"
)

// printJSON prints v on several lines.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLine prints v on one line of JSON.
func (a *app) printLine(v any) error { return printJSONLine(a.out, v) }

func printJSONLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printStatus prints all about a job.
func (a *app) printStatus(s job.Status) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	p := printer{w: a.out}
	what := ""
	if s.Result != nil && s.Result.DryRun {
		what = ": a dry run, nothing was written"
	}
	p.line("%s %s after %s%s", s.Operation, s.State, took(s), what)
	p.field("job", s.JobID)
	p.field("run", s.RunID)
	p.field("platform", s.Platform)
	p.field("image", s.Image)
	p.field("output", s.Output)
	p.field("phase", string(s.Phase))
	p.field("CE", s.CE)
	p.field("started", s.Started.Local().Format(time.DateTime+" MST"))
	if s.Progress != nil {
		p.field("progress", progressText(*s.Progress))
	}
	if s.Result != nil && s.Operation == job.OpReverseImage {
		p.native(*s.Result)
	} else if s.Result != nil && s.Operation == job.OpUpgradePVS {
		p.upgraded(*s.Result)
	} else if s.Result != nil {
		p.result(*s.Result)
	}
	p.warnings(s.Warnings)
	p.guest(s)
	if s.Error != nil {
		p.field("error", string(s.Error.Code)+": "+s.Error.Error())
	}
	if s.Result != nil && s.Operation == job.OpConvertToUEFI {
		p.pvs(*s.Result)
	}
	return p.err
}

// printer prints fields, and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, plain(fmt.Sprintf(format, args...)))
	}
}

// plain is text as it may go to a terminal: some of it is what a Compositing
// Engine says, or the name of a file, and must not move the cursor.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

func (p *printer) field(name, value string) {
	if value != "" {
		p.line("  %-9s %s", name, value)
	}
}

func (p *printer) warnings(list []string) {
	for _, w := range list {
		p.field("warning", w)
	}
}

// boot prints how far firmware got, and what that was seen by.
func (p *printer) boot(b *job.BootProof) {
	if b == nil {
		return
	}
	p.field("booted", fmt.Sprintf("%s, after %.0f s", b.Reached, b.Seconds))
	for _, s := range b.Stages {
		p.line("  %-9s - %s", "", s)
	}
}

// result prints what a job made or would make, but for what comes behind the
// warnings: see pvs.
func (p *printer) result(r job.Result) {
	if r.DryRun {
		p.plan(r)
		return
	}
	p.field("size", fmt.Sprintf("%s, for %s changed of a disk of %s", sizeText(r.SizeBytes), sizeText(r.ChangedBytes), sizeText(r.VirtualSizeBytes)))
	p.field("sha256", r.SHA256)
	if r.WindowsProduct != "" {
		p.field("windows", fmt.Sprintf("%s, build %d", r.WindowsProduct, r.WindowsBuild))
	}
	p.field("ESP", espText(r.ESPPlacement))
	p.beside(r.PVS)
	if v := r.Verification; v != nil {
		p.field("verified", fmt.Sprintf("%d checks, %d files of the EFI system partition (-o json lists them)", len(v.Checks), len(v.ESPFiles)))
	}
	p.boot(r.Boot)
	if r.BytesRead > 0 {
		p.field("traffic", fmt.Sprintf("%s read, %s written", sizeText(r.BytesRead), sizeText(r.BytesWritten)))
	}
}

// took is how long a job took, or has taken so far.
func took(s job.Status) string {
	end := time.Now()
	if s.Ended != nil {
		end = *s.Ended
	}
	d := max(end.Sub(s.Started), 0)
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// progressText is a step with the bytes done, such as
// "write 512.0 MiB of 1.0 GiB (50 %)".
func progressText(p job.Progress) string {
	switch {
	case p.TotalBytes > 0:
		return fmt.Sprintf("%s %s of %s (%d %%)", p.Step, sizeText(p.DoneBytes), sizeText(p.TotalBytes), int64(float64(p.DoneBytes)/float64(p.TotalBytes)*100))
	case p.DoneBytes > 0:
		return p.Step + " " + sizeText(p.DoneBytes)
	}
	return p.Step
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
