package main

import (
	"fmt"
	"strings"
	"time"

	"imageport/job"
)

// upgraded prints what an upgradePvs job made or would make.
func (p *printer) upgraded(r job.Result) {
	up := r.Upgrade
	if up == nil {
		up = new(job.Upgrade)
	}
	switch {
	case up.Skipped:
		p.field("software", up.From+" is in the image already: nothing was made")
	case r.DryRun:
		p.field("software", fmt.Sprintf("%s would become %s", present(up.From), present(up.To)))
	default:
		p.field("software", fmt.Sprintf("%s -> %s", present(up.From), present(up.To)))
	}
	p.field("installer", up.Installer)
	if r.WindowsProduct != "" {
		p.field("windows", fmt.Sprintf("%s, build %d", r.WindowsProduct, r.WindowsBuild))
	}
	if r.VirtualSizeBytes > 0 {
		size := "of a disk of " + sizeText(r.VirtualSizeBytes)
		if !r.DryRun && r.SizeBytes > 0 {
			size = sizeText(r.SizeBytes) + ", " + size
		}
		p.field("size", size)
	}
	for _, s := range up.Steps {
		p.field("step", stepText(s))
	}
	if up.Boots > 0 {
		p.field("boots", fmt.Sprintf("Windows started %s, the machine was switched on %s", times(up.Boots), times(up.Guests)))
	}
	p.changes("fix-up", r.FixUps)
	p.changes("removed", up.Removed)
	p.field("sha256", r.SHA256)
	if r.BytesRead > 0 {
		p.field("traffic", fmt.Sprintf("%s read, %s written", sizeText(r.BytesRead), sizeText(r.BytesWritten)))
	}
}

// changes prints what was changed in the image.
func (p *printer) changes(what string, list []job.FixUp) {
	for _, f := range list {
		p.field(what, fmt.Sprintf("%s: %s -> %s", f.What, present(f.Old), present(f.New)))
	}
}

// stepText says how a program in the guest ended.
func stepText(s job.UpgradeStep) string {
	text := s.Name
	if s.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *s.ExitCode)
	}
	if s.Seconds > 0 {
		text += " after " + time.Duration(s.Seconds*float64(time.Second)).Round(time.Second).String()
	}
	if s.Attempts > 1 {
		text += ", tried " + times(s.Attempts)
	}
	if s.Note != "" {
		text += ": " + s.Note
	}
	return text
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// guest says where to read on about the Windows that was started.
func (p *printer) guest(s job.Status) {
	g := s.Guest
	if g == nil {
		return
	}
	var names []string
	if g.Log != "" {
		names = append(names, "runner")
	}
	for _, l := range g.Logs {
		names = append(names, l.Name)
	}
	if len(names) > 0 {
		p.field("logs", fmt.Sprintf("%s (imageport jobs logs %s --source guest)", strings.Join(names, ", "), s.RunID))
	}
	if len(g.Screen) > 0 {
		p.field("screen", fmt.Sprintf("there is one (imageport jobs show %s --screenshot screen.png)", s.RunID))
	}
}
