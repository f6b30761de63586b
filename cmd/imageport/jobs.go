package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List, show, watch and cancel jobs, and get their logs",
		Long: `List, show, watch and cancel jobs, and get their logs. A job is named by its id, which
stands for the latest job on the image, or by the id of its run.`,
		Example: `  imageport jobs list
  imageport jobs watch ips/files/pvs/store/win10.vhdx`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.jobsListCommand(), a.jobsShowCommand(), a.jobsWatchCommand(), a.jobsLogsCommand(), a.jobsBundleCommand(), a.jobsCancelCommand())
	return cmd
}

// completeTimeout is how long completion may keep the shell waiting.
const completeTimeout = 3 * time.Second

// completeJobs completes the ids of the jobs in that state, "" for all.
func (a *app) completeJobs(state job.State) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		var ids []cobra.Completion
		err := a.jobs(ctx, func(c *starter.Client) error {
			jobs, err := c.List(ctx, starter.Filter{State: state})
			seen := map[string]bool{} // an image's jobs share the id
			for _, s := range jobs {
				if !seen[s.JobID] {
					seen[s.JobID] = true
					ids = append(ids, cobra.CompletionWithDesc(s.JobID, string(s.Operation)+", "+string(s.State)))
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
