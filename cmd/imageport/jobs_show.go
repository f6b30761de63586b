package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsShowCommand() *cobra.Command {
	var screenshot string
	cmd := &cobra.Command{
		Use:   "show job",
		Short: "Show how a job stands, or how it ended",
		Example: `  imageport jobs show ips/files/pvs/store/win10.vhdx
  imageport jobs show 01a20582-8e9a-7b3c-9d21-3f0c9a6f1e55 -o json
  imageport jobs show ips/files/pvs/store/win10.vhdx --screenshot boot.png`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs(""),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				s, err := c.Get(ctx, args[0])
				if err != nil {
					return err
				}
				if err := saveScreen(s, screenshot); err != nil {
					return err
				}
				return a.printStatus(s)
			})
		}),
	}
	cmd.Flags().StringVar(&screenshot, "screenshot", "", "new `file` for the screen at the end of the job's boot proof (PNG)")
	return cmd
}

// saveScreen writes the picture that a job's boot proof has.
func saveScreen(s job.Status, path string) error {
	if path == "" {
		return nil
	}
	if s.Result == nil || s.Result.Boot == nil || len(s.Result.Boot.Screenshot) == 0 {
		return job.Errorf(job.BadRequest, `Leave --screenshot out; a job has one that has completed, and was started with "verify": "boot"`, "the job %s has no screenshot", s.JobID)
	}
	return picture(path).save(s.Result.Boot.Screenshot)
}
