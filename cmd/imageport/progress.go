package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"imageport/job"
)

// plainInterval is how often the progress within a step is worth a line where
// lines stay.
const plainInterval = 10 * time.Second

// progress shows how a job gets on: on a terminal in one line that changes, with
// a line for each phase that is over; elsewhere in a line for each step.
type progress struct {
	w     io.Writer
	width func() int // columns of the terminal; nil where w is none
	now   func() time.Time

	mu       sync.Mutex
	last     *job.Status // shown last
	warnings []string    // shown already
	step     string      // shown last
	shown    time.Time   // when
	phase    job.Phase   // on the terminal
	pace     pace
	open     bool // the cursor stands behind a line of ours
}

func newProgress(w io.Writer, now func() time.Time) *progress {
	p := &progress{w: w, now: now}
	if f, ok := terminalOf(w); ok {
		p.width = func() int { return columns(f) }
	}
	return p
}

// terminalOf is the terminal that w is, if it is one on which the cursor can be
// moved.
func terminalOf(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return nil, false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return f, err == nil
}

// show shows the status. That a line cannot be written is no reason to stop
// following the job.
func (p *progress) show(s job.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &s
	p.pace.note(p.now(), s)
	p.print(s)
}

// tick shows the last status again and again, so that the time that passes is
// seen to pass, until the function that it gives is called.
func (p *progress) tick(every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			p.mu.Lock()
			if p.last != nil {
				p.print(*p.last)
			}
			p.mu.Unlock()
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (p *progress) print(s job.Status) {
	for _, w := range s.Warnings {
		if !slices.Contains(p.warnings, w) {
			p.warnings = append(p.warnings, w)
			p.clear()
			fmt.Fprintf(p.w, "warning: %s\n", plain(w))
		}
	}
	if s.State != job.StateRunning {
		return
	}
	elapsed := p.now().Sub(s.Started).Round(time.Second)
	if p.width != nil {
		p.draw(s, elapsed)
		return
	}
	step := phaseText(s)
	text := step
	if s.Progress != nil {
		step += " " + s.Progress.Step
		text += ": " + progressText(*s.Progress)
	}
	if rate, left, ok := p.pace.of(p.now()); ok && rate > 0 {
		text += fmt.Sprintf(", %s/s%s", sizeText(rate), leftText(", ", left))
	}
	if step != p.step || p.now().Sub(p.shown) >= plainInterval {
		fmt.Fprintf(p.w, "%6s  %s\n", elapsed, plain(text))
		p.step, p.shown = step, p.now()
	}
}

// phaseText is the phase of a running job; no worker has begun with one that has
// none.
func phaseText(s job.Status) string { return cmp.Or(string(s.Phase), "waiting for a worker") }

// end removes the line that changes.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}

// columns is how wide a terminal is.
func columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

// cut shortens a text to that many characters.
func cut(text string, n int) string {
	if n < 1 || utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
