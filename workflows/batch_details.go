package workflows

import (
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"imageport/job"
)

// describe writes the report for the Web UI.
func (b *batch) describe(ctx workflow.Context) {
	r := &b.report
	r.Count()
	var d details
	what := plain(string(r.Operation))
	if r.DryRun {
		what += ", dry run,"
	}
	d.paragraph("%s of %d images: **%s**", what, r.Counts.Total, describeCounts(r))
	d.problem(r.Error)
	if r.Stopped {
		d.paragraph("A job has failed: the others are not begun.")
	}
	if c := r.Counts; r.Ended != nil {
		if c.Failed+c.Canceled+c.Left > 0 {
			d.paragraph("**Next**: put right what has failed, and start the batch again as it was: it does what is left.")
		}
		if c.Completed > 0 {
			d.paragraph("What to do with an output is in the details of its job, in the tab Relationships.")
		}
	}
	d.items("**failed**", r.Items, job.ItemFailed, job.ItemTerminated)
	d.items("running", r.Items, job.ItemRunning)
	d.items("waiting", r.Items, job.ItemWaiting)
	for _, w := range r.Warnings {
		d.item("warning: %s", plain(w))
	}
	d.show(ctx)
}

// describeCounts is the counts of a report in words.
func describeCounts(r *job.BatchReport) string {
	c := r.Counts
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{c.Failed, "failed"}, {c.Running, "running"}, {c.Waiting, "waiting"}, {c.Pending, "to do"},
		{c.Completed, "completed"}, {c.There, "there already"}, {c.Canceled, "canceled"}, {c.Left, "left"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if len(parts) == 0 {
		return string(r.State)
	}
	return strings.Join(parts, ", ")
}

// items lists the images in one of the states.
func (d *details) items(title string, items []job.BatchItem, states ...job.ItemState) {
	n := 0
	for _, item := range items {
		if !slices.Contains(states, item.State) {
			continue
		}
		if n++; n > maxListed {
			continue
		}
		line := title + ": " + code(item.Image)
		switch e := item.Error; {
		case e != nil:
			line += fmt.Sprintf(" **%s**: %s", e.Code, plain(e.Message))
			if e.Remedy != "" {
				line += ". " + plain(e.Remedy)
			}
		case item.Note != "":
			line += ": " + plain(item.Note)
		}
		d.item("%s", line)
	}
	if n > maxListed {
		d.item("… and %d more %s", n-maxListed, title)
	}
}
