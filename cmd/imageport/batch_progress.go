package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imageport/job"
	"imageport/starter"
)

// followBatch shows the progress of a batch until it has ended, and gives its last
// report. Each report is also given to each, if that is not nil. ^C ends it with
// the error interrupted.
func (a *app) followBatch(ctx context.Context, c *starter.Client, id string, interrupted interrupted, each func(job.BatchReport) error) (job.BatchReport, error) {
	p := newBatchProgress(a.err, time.Now)
	defer p.clear()
	var last job.BatchReport
	for r, err := range c.WatchBatch(ctx, id) {
		if errors.Is(err, context.Canceled) {
			p.clear()
			return last, interrupted
		}
		if err != nil {
			return last, err
		}
		last = r
		p.show(r)
		if each != nil {
			if err := each(r); err != nil {
				return last, err
			}
		}
	}
	return last, nil
}

// batchGoesOn is what to say to whom it is not the batch's end.
func batchGoesOn(id string) interrupted {
	return interrupted(fmt.Sprintf("the batch goes on; imageport batch watch '%[1]s' shows it again, imageport batch cancel '%[1]s' stops it", id))
}

// maxBatchRows is how many running jobs a terminal shows.
const maxBatchRows = 12

// batchProgress shows how a batch gets on: on a terminal in a table that changes,
// elsewhere in a line for each image that has begun or ended.
type batchProgress struct {
	w        io.Writer
	now      func() time.Time
	terminal *os.File // nil where w is none

	lines    int // of ours above the cursor
	seen     map[string]job.ItemState
	warnings map[string]bool
}

func newBatchProgress(w io.Writer, now func() time.Time) *batchProgress {
	p := &batchProgress{w: w, now: now, seen: map[string]job.ItemState{}, warnings: map[string]bool{}}
	if f, ok := terminalOf(w); ok {
		p.terminal = f
	}
	return p
}

// show shows the report. That a line cannot be written is no reason to stop
// following the batch.
func (p *batchProgress) show(r job.BatchReport) {
	p.clear()
	for _, w := range r.Warnings {
		if !p.warnings[w] {
			p.warnings[w] = true
			fmt.Fprintf(p.w, "warning: %s\n", plain(w))
		}
	}
	for _, item := range r.Items {
		p.moved(item)
	}
	if p.terminal != nil && r.State == job.StateRunning {
		p.table(r)
	}
}

// moved prints a line for an image whose state is another one than before.
func (p *batchProgress) moved(item job.BatchItem) {
	before := p.seen[item.JobID]
	p.seen[item.JobID] = item.State
	if before == item.State || item.State == job.ItemPending || item.State == job.ItemRunning && p.terminal != nil {
		return
	}
	line := lastElement(item.Image)
	if text := itemText(item); text != "" && item.State != job.ItemRunning {
		line += ": " + text
	}
	fmt.Fprintf(p.w, "%-10s %s\n", item.State, cell(line))
}

// table shows the counts and the running jobs.
func (p *batchProgress) table(r job.BatchReport) {
	width, height := 80, 24
	if size, err := unix.IoctlGetWinsize(int(p.terminal.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
		width, height = int(size.Col), int(size.Row)
	}
	for _, row := range p.rows(r, min(maxBatchRows, height-3)) {
		fmt.Fprintln(p.w, cut(plain(row), width-1))
		p.lines++
	}
}

// rows are the lines of the table, with that many jobs at most.
func (p *batchProgress) rows(r job.BatchReport, limit int) []string {
	rows := []string{fmt.Sprintf("%6s  %d of %d done: %s", batchTook(r, p.now()), r.Counts.Done(), r.Counts.Total, countsText(r.Counts))}
	more := 0
	for _, item := range r.Items {
		if item.State != job.ItemRunning {
			continue
		}
		if len(rows) > limit {
			more++
			continue
		}
		rows = append(rows, strings.TrimRight(fmt.Sprintf("%6s  %-24s %s", itemTook(item, p.now()), lastElement(item.Image), itemText(item)), " "))
	}
	if more > 0 {
		rows = append(rows, fmt.Sprintf("        and %d more", more))
	}
	return rows
}

// clear removes the table.
func (p *batchProgress) clear() {
	for ; p.lines > 0; p.lines-- {
		fmt.Fprint(p.w, "\x1b[1A\r\x1b[K")
	}
}
