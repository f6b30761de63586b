package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsListCommand() *cobra.Command {
	var f starter.Filter
	var since string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, the running ones first",
		Example: `  imageport jobs list --state running
  imageport jobs list --image 'win10*.vhdx' --since 24h --limit 5
  imageport jobs list --state failed --since 2026-01-31 --platform vSphere
  imageport jobs list --operation convertToUefi -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			var err error
			if f.Since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			return a.jobs(ctx, func(c *starter.Client) error {
				jobs, err := c.List(ctx, f)
				if err != nil {
					return err
				}
				return a.printList(jobs)
			})
		}),
	}
	flags := cmd.Flags()
	choose(cmd, &f.State, "state", "only jobs in this `state`: "+strings.Join(texts(states), ", "), states...)
	choose(cmd, &f.Phase, "phase", "only jobs in this `phase`, or that ended in it: "+strings.Join(texts(phases), ", "), phases...)
	choose(cmd, &f.Operation, "operation", "only this `operation`: "+strings.Join(texts(operations), ", "), operations...)
	choose(cmd, &f.Platform, "platform", "only jobs on this `platform`: "+strings.Join(platformNames, ", "), platformNames...)
	flags.StringVar(&f.ResourceLocation, "resource-location", "", "only jobs of the resource location with this `id`")
	flags.StringVar(&f.Image, "image", "", "only images with this `text` in their path or name; with * or ?, a pattern for the name")
	flags.StringVar(&since, "since", "", "only jobs that were started since this `time`: 2026-01-31, 2026-01-31T10:00:00Z, or so long ago: 90m, 24h, 7d")
	f.Limit = 100
	flags.Var((*count)(&f.Limit), "limit", "at most this `number` of jobs")
	return cmd
}

// parseSince reads a time, or how long ago it was. "" is the zero time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, job.Errorf(job.BadRequest, "Write a date such as 2026-01-31, a time such as 2026-01-31T10:00:00Z, or how long ago such as 24h or 7d", "--since %q is no time", text)
}

func (a *app) printList(jobs []job.Status) error {
	if a.output == outputJSON {
		if jobs == nil {
			jobs = []job.Status{} // [] and not null
		}
		return a.printJSON(jobs)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tPHASE\tOPERATION\tSTARTED\tTOOK\tJOB")
	for _, s := range jobs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.State, cmp.Or(string(s.Phase), "-"), s.Operation, s.Started.Local().Format(time.DateTime), took(s), s.JobID)
	}
	return w.Flush()
}
