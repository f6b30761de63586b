package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"imageport/job"
)

// Columns of a bar, at least and at most.
const (
	minBar = 10
	maxBar = 30
)

// draw draws the line of the current step, and leaves one for the phase that is
// over.
func (p *progress) draw(s job.Status, elapsed time.Duration) {
	if p.phase != "" && p.phase != s.Phase {
		p.clear()
		fmt.Fprintf(p.w, "%6s  %-9s done\n", elapsed, plain(string(p.phase)))
	}
	p.phase = s.Phase
	head, tail := fmt.Sprintf("%6s  %-9s", elapsed, plain(phaseText(s))), ""
	if s.Progress != nil {
		head += " " + oneLine(s.Progress.Step)
		if s.Progress.DoneBytes > 0 {
			tail = "  " + sizeText(s.Progress.DoneBytes)
		}
		if s.Progress.TotalBytes > 0 {
			tail += " of " + sizeText(s.Progress.TotalBytes)
		}
	}
	if rate, left, ok := p.pace.of(p.now()); ok {
		tail += fmt.Sprintf("  %s/s%s", sizeText(rate), leftText("  ", left))
	}
	width := p.width() - 1 // behind the last column, some terminals begin a new line
	line := head
	if s.Progress != nil && s.Progress.TotalBytes > 0 {
		done := float64(s.Progress.DoneBytes) / float64(s.Progress.TotalBytes)
		room := width - utf8.RuneCountInString(head+tail) - len("  [] 100 %")
		if room >= minBar {
			line += "  " + bar(done, min(room, maxBar))
		}
		line += fmt.Sprintf(" %3d %%", percent(done))
	}
	fmt.Fprintf(p.w, "\r%s\x1b[K", cut(strings.TrimRight(line+tail, " "), width))
	p.open = true
}

// bar is a bar with that many columns between its ends.
func bar(done float64, width int) string {
	full := min(max(int(done*float64(width)), 0), width)
	text := strings.Repeat("=", full)
	if full < width {
		text += ">" + strings.Repeat(" ", width-full-1)
	}
	return "[" + text + "]"
}

// percent is 100 when all is done, and not before.
func percent(done float64) int { return int(min(max(done, 0), 1) * 100) }

// oneLine is text as it may stand in the line that changes.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, plain(text))
}

// leftText is the remaining time behind a separator, "" where it is not known.
func leftText(separator string, left time.Duration) string {
	if left <= 0 {
		return ""
	}
	unit := time.Second
	if left > time.Hour {
		unit = time.Minute
	}
	return separator + job.Period(left.Round(unit)).String() + " left"
}
