package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsListCommand() *cobra.Command {
	var f starter.Filter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, the running ones first",
		Example: `  imageport jobs list --state running
  imageport jobs list --image win10 --limit 5
  imageport jobs list --operation convertToUefi -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
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
	flags.StringVar((*string)(&f.State), "state", "", "only jobs in this `state`: running, completed, failed, canceled, terminated")
	flags.StringVar((*string)(&f.Operation), "operation", "", "only this `operation`: convertToUefi, reverseImage, upgradePvs")
	flags.StringVar(&f.Platform, "platform", "", "only jobs on this `platform`")
	flags.StringVar(&f.ResourceLocation, "resource-location", "", "only jobs of the resource location with this `id`")
	flags.StringVar(&f.Image, "image", "", "only images with this `text` in their path or name")
	flags.IntVar(&f.Limit, "limit", 100, "at most this many")
	return cmd
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
