package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) batchReportCommand() *cobra.Command {
	var page string
	cmd := &cobra.Command{
		Use:   "report batch",
		Short: "Give the report of a batch as JSON, or as a page for people",
		Long: `Give the report of a batch as JSON or, with --html, as one page that needs no other file.
A batch that still runs has a report of how it stands.`,
		Example: `  imageport batch report batch/5f3b/floor-3 --html report.html
  imageport batch report batch/5f3b/floor-3 > report.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeBatches(""),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				r, err := c.Batch(ctx, args[0])
				if err != nil {
					return err
				}
				if page == "" {
					return a.printJSON(r)
				}
				return a.writePage(page, r)
			})
		}),
	}
	cmd.Flags().StringVar(&page, "html", "", "`file` for the page, which is replaced; - for the standard output")
	return cmd
}

// writePage writes the report as a page. It appears complete, or not at all.
func (a *app) writePage(path string, r job.BatchReport) error {
	if path == "-" {
		return starter.WriteBatchReport(a.out, r)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once renamed, it is not there
	defer f.Close()
	if err := starter.WriteBatchReport(f, r); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// printBatch prints how a batch stands.
func (a *app) printBatch(r job.BatchReport) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	p := printer{w: a.out}
	what := ""
	if r.DryRun {
		what = ": a dry run, nothing was written"
	}
	p.line("batch %s %s after %s%s", r.Operation, r.State, batchTook(r, time.Now()), what)
	p.field("batch", r.BatchID)
	p.field("run", r.RunID)
	p.field("images", countsText(r.Counts))
	p.warnings(r.Warnings)
	if r.Error != nil {
		p.field("error", string(r.Error.Code)+": "+r.Error.Error())
	}
	if p.err != nil || len(r.Items) == 0 {
		return p.err
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tTOOK\tIMAGE\tOUTPUT\tWHAT")
	for _, item := range r.Items {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", item.State, itemTook(item, time.Now()), cell(lastElement(item.Image)), cell(lastElement(item.Output)), cell(itemText(item)))
	}
	return w.Flush()
}

// itemText is what there is to know about an image.
func itemText(item job.BatchItem) string {
	switch {
	case item.Error != nil:
		return string(item.Error.Code) + ": " + item.Error.Error()
	case item.Note != "":
		return item.Note
	case item.State == job.ItemRunning && item.Progress != nil:
		return string(item.Phase) + ": " + progressText(*item.Progress)
	case item.State == job.ItemRunning:
		return string(item.Phase)
	case item.Result != nil && item.Result.SizeBytes > 0:
		return sizeText(item.Result.SizeBytes)
	}
	return ""
}

// countsText is the counts in words, what matters most first.
func countsText(c job.BatchCounts) string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{c.Failed, "failed"}, {c.Running, "running"}, {c.Waiting, "waiting for another job"}, {c.Pending, "to do"},
		{c.Completed, "completed"}, {c.There, "there already"}, {c.Canceled, "canceled"}, {c.Left, "not begun"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%d: %s", c.Total, strings.Join(parts, ", "))
}

// lastElement is the name of a file without its folder.
func lastElement(path string) string { return path[strings.LastIndexByte(path, '\\')+1:] }

func batchTook(r job.BatchReport, now time.Time) string {
	return tookBetween(r.Started, r.Ended, now)
}

func itemTook(item job.BatchItem, now time.Time) string {
	if item.Started == nil {
		return "-"
	}
	return tookBetween(*item.Started, item.Ended, now)
}

// tookBetween is the time from start to end or, without one, until now.
func tookBetween(start time.Time, end *time.Time, now time.Time) string {
	if end != nil {
		now = *end
	}
	return max(now.Sub(start), 0).Round(time.Second).String()
}

// batchOutcome is the error of a batch that has ended, nil if all is well.
func batchOutcome(r job.BatchReport) error {
	switch n := r.Counts.Failed; {
	case r.State == job.StateCanceled:
		return job.Errorf(job.JobCanceled, "Start it again to do what is left", "batch %s was canceled", r.BatchID)
	case r.Error != nil:
		return r.Error
	case r.State != job.StateCompleted:
		return job.Errorf(job.Internal, "Look at the batch in Temporal's Web UI", "batch %s is %s", r.BatchID, r.State)
	case n > 0:
		first := job.BatchItem{}
		for _, item := range r.Items {
			if item.Error != nil {
				first = item
				break
			}
		}
		code := job.Internal
		// Of which those two would be about the batch, and its exit code.
		if e := first.Error; e != nil && e.Code != job.JobCanceled && e.Code != job.JobTerminated {
			code = e.Code
		}
		return job.Errorf(code, "Put right what the report says, then start the batch again: it does what is left", "%d of %d images failed, first %s", n, r.Counts.Total, cell(lastElement(first.Image)))
	}
	return nil
}
