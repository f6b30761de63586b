package main

import (
	"time"

	"imageport/job"
)

const (
	// paceWindow is what a rate is the average of, and paceMin how much of it there
	// has to be.
	paceWindow = 20 * time.Second
	paceMin    = 2 * time.Second
	// maxLeft is a remaining time that nobody wants to hear of.
	maxLeft = 99 * time.Hour
)

// pace is how fast the current step of a job gets on.
type pace struct {
	step    string // with its phase
	total   int64
	samples []sample // of paceWindow, the oldest first
}

// sample is how far a step was, in bytes.
type sample struct {
	at   time.Time
	done int64
}

// note notes how far a job is.
func (p *pace) note(now time.Time, s job.Status) {
	if s.Progress == nil || s.State != job.StateRunning {
		*p = pace{}
		return
	}
	step := string(s.Phase) + " " + s.Progress.Step
	last := len(p.samples) - 1
	if step != p.step || s.Progress.TotalBytes != p.total || last >= 0 && s.Progress.DoneBytes < p.samples[last].done {
		*p = pace{step: step, total: s.Progress.TotalBytes}
	}
	p.samples = append(p.samples, sample{now, s.Progress.DoneBytes})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) >= paceWindow {
		p.samples = p.samples[1:]
	}
}

// of gives the rate of late, in bytes a second, and the time that is left at that
// rate, 0 if that cannot be told. It is not ok as long as too little is known.
func (p *pace) of(now time.Time) (rate int64, left time.Duration, ok bool) {
	if len(p.samples) < 2 {
		return 0, 0, false
	}
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	over := now.Sub(first.at) // also what has passed since without a word
	if over < paceMin || last.done == 0 {
		return 0, 0, false
	}
	perSecond := float64(last.done-first.done) / over.Seconds()
	if rest := float64(p.total - last.done); rest > 0 && perSecond > 0 {
		if seconds := rest / perSecond; seconds < maxLeft.Seconds() {
			left = time.Duration(seconds * float64(time.Second))
		}
	}
	return int64(perSecond), left, true
}
