package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"imageport/job"
)

// describe writes the report for the Web UI, as Markdown: what matters most
// first.
func (b *batch) describe(ctx workflow.Context) {
	r := &b.report
	r.Count()
	var s strings.Builder
	what := string(r.Operation)
	if r.DryRun {
		what += ", dry run,"
	}
	fmt.Fprintf(&s, "%s of %d images: **%s**\n\n", what, r.Counts.Total, describeCounts(r))
	if e := r.Error; e != nil {
		fmt.Fprintf(&s, "**%s**: %s\n\n", e.Code, e.Message)
		if e.Remedy != "" {
			fmt.Fprintf(&s, "**What to do**: %s\n\n", e.Remedy)
		}
	}
	if r.Stopped {
		s.WriteString("A job has failed: the others are not begun.\n\n")
	}
	for _, list := range []struct {
		title  string
		states []job.ItemState
	}{
		{"**failed**", []job.ItemState{job.ItemFailed, job.ItemTerminated}},
		{"running", []job.ItemState{job.ItemRunning}},
		{"waiting", []job.ItemState{job.ItemWaiting}},
	} {
		describeItems(&s, list.title, r.Items, list.states)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&s, "- warning: %s\n", w)
	}
	s.WriteString("\n\u00a0\n") // see lifecycle.describe
	workflow.SetCurrentDetails(ctx, s.String())
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

func describeItems(s *strings.Builder, title string, items []job.BatchItem, states []job.ItemState) {
	n := 0
	for _, item := range items {
		found := false
		for _, state := range states {
			found = found || item.State == state
		}
		if !found {
			continue
		}
		if n++; n > maxListed {
			continue
		}
		fmt.Fprintf(s, "- %s: `` %s ``", title, item.Image)
		switch {
		case item.Error != nil && item.Error.Remedy != "":
			fmt.Fprintf(s, " **%s**: %s. %s", item.Error.Code, item.Error.Message, item.Error.Remedy)
		case item.Error != nil:
			fmt.Fprintf(s, " **%s**: %s", item.Error.Code, item.Error.Message)
		case item.Note != "":
			fmt.Fprintf(s, ": %s", item.Note)
		}
		s.WriteString("\n")
	}
	if n > maxListed {
		fmt.Fprintf(s, "- … and %d more %s\n", n-maxListed, title)
	}
}
