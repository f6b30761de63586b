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
	cmd.Flags().StringVar(&screenshot, "screenshot", "", "new `file` for the screen at the end of the boot proof, or of the guest at its deadline (PNG)")
	return cmd
}

// saveScreen writes the picture that a job has: of the guest that did not end in
// time, or of the end of its boot proof.
func saveScreen(s job.Status, path string) error {
	if path == "" {
		return nil
	}
	var screen []byte
	if s.Guest != nil {
		screen = s.Guest.Screen
	}
	if len(screen) == 0 && s.Result != nil && s.Result.Boot != nil {
		screen = s.Result.Boot.Screenshot
	}
	if len(screen) == 0 {
		return job.Errorf(job.BadRequest, `Leave --screenshot out; a job has one that was started with "verify": "boot" and has completed, or whose guest was on at its deadline`, "the job %s has no screenshot", s.JobID)
	}
	return picture(path).save(screen)
}
